"""One crash: a service is armed, reaches its point under load, dies or freezes or loses a connection there, and comes back.

Everything is waited for by what it leaves behind: the mark on the disk, a process that is gone or frozen, rows that are
acknowledged again. Then every row is counted on every node.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
from cluster_handle import ClusterHandle
from coordinator_points import BEFORE
from crash_drives import PROCESSES, Drive
from equal_nodes import check_record, wait_until_equal
from recording_client import Connection, Load, Record
from second_coordinator import second_coordinator
from under_load import acknowledged_more

from replication.effects import Acknowledge, Fail, Refuse

CLIENTS = 3
CLASH_EVERY = 5
ROWS = 20
"""So many acknowledgements say that the cluster takes writes."""
HIT_S = 20.0
"""A point that is not reached by then is not reached."""
BACK_S = 20.0
TAKE_OVER = "take-over"
"""Freeze, and another coordinator serves before the first one goes on."""
TRUE_ANSWERS = {0, 200, 409, 503}
"""0: the connection broke. A 500 would be an answer that nobody meant to give."""


WRITE_ANSWERS = {BEFORE[kind] for kind in (Acknowledge, Refuse, Fail)}


class ArmedCluster(ClusterHandle):
    """The same cluster, with something in the environment of what it starts."""

    def __init__(self, cluster: ClusterHandle, extra: Mapping[str, str]) -> None:
        super().__init__(cluster.folder, cluster.port_offset)
        self._extra = extra

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self._extra}


class Reader:
    """Reads back, again and again, what was acknowledged last before the read was sent."""

    def __init__(self, port: int, record: Record) -> None:
        self._port = port
        self._record = record
        self._stopped = False
        self.stale: list[str] = []

    def stop(self) -> None:
        self._stopped = True

    async def run(self) -> None:
        connection = Connection(self._port)
        while not self._stopped:
            newest = next((answer for answer in reversed(self._record.answers) if answer.status == 200), None)
            status = 0
            if newest is not None:
                row = newest.body["last_insert_id"]
                status, body = await connection.query(f"SELECT email FROM users WHERE id = {row}")
                if status == 200 and body["data"] != [{"email": newest.marker}]:
                    self.stale.append(f"{newest.marker} was acknowledged before, and read as {body['data']}")
            if status != 200:
                await asyncio.sleep(0.02)  # a moment before the next try
        connection.close()


def state_of(pid: int) -> str:
    """R, S, T (frozen), Z; or nothing, when there is no such process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # there is no such process
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


async def until_state(pid: int, wanted: str, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while state_of(pid) not in wanted.split("|"):  # noqa: ASYNC110 (a process tells nobody that it froze)
            await asyncio.sleep(0.01)  # see above


def line_in(mark: Path) -> str:
    """What the point has left there; empty: nothing yet."""
    text = mark.read_text() if mark.exists() else ""
    return text.rstrip() if text.endswith("\n") else ""


async def line_to_come(mark: Path) -> str:
    while not (line := line_in(mark)):  # noqa: ASYNC110 (nor that it is about to die)
        await asyncio.sleep(0.01)  # see above
    return line


def wait_until_all_are_level(cluster: ClusterHandle, within_s: float) -> None:
    """A node that gets a full copy does not even answer for a while."""
    deadline_s = time.monotonic() + within_s
    while True:
        nodes = cluster.get("coordinator", "/status").json()["nodes"].values()
        if all((node["state"], node["member"]) == ("level", True) for node in nodes):
            return
        assert time.monotonic() < deadline_s, f"after {within_s} s not all nodes are level members: {nodes}"
        time.sleep(0.02)  # a moment before the next try


class CrashCase:
    """One point and what happens there."""

    def __init__(
        self, cluster: ClusterHandle, point: str, action: str, drive: Drive, folder: Path, hit_s: float = HIT_S
    ) -> None:
        self.cluster = cluster
        self.point = point
        self.action = action
        self.drive = drive
        self.name = PROCESSES[point.partition(".")[0]]
        self._folder = folder
        self._hit_s = hit_s
        self._label = f"{point}-{action}"
        self._records: list[Record] = []
        self._pid = 0
        self._killed_ns = 0
        self._acting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        load = Load(self.cluster.port("coordinator"), CLIENTS, f"{self._label}-a", clash_every=CLASH_EVERY)
        reader = Reader(self.cluster.port("coordinator"), load.record)
        running = asyncio.gather(load.run(), reader.run())
        try:
            await self._crash_under(load)
            await acknowledged_more(load, ROWS, within_s=BACK_S)
        finally:
            load.stop()
            reader.stop()
            await running
        self._records.append(load.record)
        await asyncio.to_thread(self._judge, reader.stale)

    async def _crash_under(self, load: Load) -> None:
        cluster, drive = self.cluster, self.drive
        await acknowledged_more(load, ROWS, within_s=BACK_S)
        await asyncio.to_thread(drive.before, cluster)
        await acknowledged_more(load, ROWS, within_s=BACK_S)
        await asyncio.to_thread(cluster.kill, self.name)
        self._killed_ns = time.monotonic_ns()
        await asyncio.to_thread(drive.between, cluster)
        starting = asyncio.create_task(asyncio.to_thread(self._start_armed))
        try:
            self._pid = int((await self._hit(starting)).split()[3])
            await self._endure()
        finally:
            if self._pid and state_of(self._pid) == "T":
                os.kill(self._pid, signal.SIGCONT)
            await starting
            if self._acting is not None:
                with contextlib.suppress(httpx.HTTPError):  # the crash may have taken away what it asked
                    await self._acting
        if self.action == TAKE_OVER:
            await asyncio.to_thread(cluster.kill, self.name)
        if state_of(self._pid) in ("", "Z") or self.action == TAKE_OVER:
            await asyncio.to_thread(cluster.start, self.name)
        await asyncio.to_thread(drive.heal, cluster)

    def _start_armed(self) -> None:
        action = "freeze" if self.action == TAKE_OVER else self.action
        crash = {"CRASH_POINT": self.point, "CRASH_ACTION": action, "CRASH_AT": str(self.drive.at)}
        mark = {"CRASH_MARK": str(self._folder / "mark")}
        with contextlib.suppress(AssertionError):  # one that crashes while it starts is no failure of the command's
            ArmedCluster(self.cluster, {**crash, **mark, **self.drive.settings}).start(self.name)

    async def _hit(self, starting: asyncio.Task[None]) -> str:
        """The line that the point left, after what makes the cluster reach it."""
        hit = asyncio.create_task(line_to_come(self._folder / "mark"))
        try:
            async with asyncio.timeout(self._hit_s):
                await asyncio.wait({hit, starting}, return_when=asyncio.FIRST_COMPLETED)
                while not hit.done():
                    self._acting = asyncio.create_task(asyncio.to_thread(self.drive.act, self.cluster))
                    await asyncio.wait({hit, self._acting}, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.wait({hit}, timeout=0.5)
                return await hit
        except TimeoutError:
            raise AssertionError(f"{self.point} was never reached within {self._hit_s} s by {self.drive}") from None
        finally:
            hit.cancel()

    async def _endure(self) -> None:
        """What the action did is there; a frozen process goes on, perhaps after another has taken its place."""
        if self.action == "exit":
            await until_state(self._pid, "|Z")
        elif self.action == "freeze":
            await until_state(self._pid, "T")
            os.kill(self._pid, signal.SIGCONT)
        elif self.action == TAKE_OVER:
            await until_state(self._pid, "T")
            await asyncio.to_thread(self._be_replaced)

    def _be_replaced(self) -> None:
        self.drive.heal(self.cluster)  # two nodes away are one too many, for the second coordinator too
        with second_coordinator(self._pid, self.drive.settings, self._folder / "second.log") as port:
            other = Load(port, CLIENTS, f"{self._label}-b", count=ROWS)
            self._records.append(asyncio.run(other.run()))
            assert set(other.record.statuses()) == {200}
            epoch = httpx.get(f"http://127.0.0.1:{port}/status", timeout=10, trust_env=False).json()["epoch"]
            os.kill(self._pid, signal.SIGCONT)
            asyncio.run(self._only_one_serves(port))
            self._has_given_way(epoch)

    def _has_given_way(self, taken_over_in: int) -> None:
        """A coordinator that had served refuses now. (One that was frozen while it started takes over, as whoever starts.)"""
        elections = self.cluster.get("coordinator", "/elections").json()["elections"]
        had_served = any(each["master"] and each["epoch"] < taken_over_in for each in elections)
        phase = self.cluster.get("coordinator", "/status").json()["phase"]
        assert phase == "deposed" or not had_served, f"it serves again: {elections}"

    async def _only_one_serves(self, second_port: int) -> None:
        """One answers, and the other refuses reads and writes."""
        first, second = Connection(self.cluster.port("coordinator")), Connection(second_port)
        async with asyncio.timeout(BACK_S):
            while True:
                answers = {name: (await name.query("SELECT 1 AS one"))[0] for name in (first, second)}
                if sorted(answers.values()) == [200, 503]:
                    break
                await asyncio.sleep(0.02)  # a moment before the next try
        for one, read_status in answers.items():
            if read_status == 503:
                print(f"after {self.point}, the {'first' if one is first else 'second'} coordinator refuses")
                status, body = await one.query("INSERT INTO users (name, email) VALUES ('x', 'deposed')")
                assert (status, body["committed"]) == (503, False)
            one.close()

    def _judge(self, stale: list[str]) -> None:
        record = Record([answer for record in self._records for answer in record.answers])
        wait_until_all_are_level(self.cluster, BACK_S)
        wait_until_equal(self.cluster, within_s=BACK_S)
        check_record(self.cluster, record, self._label)
        assert not stale, stale[:3]
        assert set(record.statuses()) <= TRUE_ANSWERS, record.statuses()
        if self.action == "cut" and self.point in WRITE_ANSWERS:
            assert self._somebody_was_cut_off(record), "no client saw its connection break"

    def _somebody_was_cut_off(self, record: Record) -> bool:
        """Whether a connection broke after the armed process began to answer. (It did not die, and nobody killed it.)"""
        later = [answer for answer in record.answers if answer.sent_ns > self._killed_ns]
        opened_ns = min(answer.answered_ns for answer in later if answer.status)
        return any(answer.status == 0 and answer.answered_ns > opened_ns for answer in later)
