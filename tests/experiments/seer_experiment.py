"""SEER: what is gained by choosing the next master?

    make experiment-seer

Three candidates, each with a fault of its own: the line to one is 20 ms long each way (SLOW), one was killed twice a moment ago
(CRASHED), and one is BEHIND: its line is held for the last third of a second before the master is killed, so it lacks what was
written then. The master is killed under load; then it comes back as a replica, and what writes cost under the new master is
measured with all four nodes there. Candidates are ranked in three ways: by SEER, in the order of their names, and at random.
Over three rounds each name has each fault once, so no order of names is lucky.

Only the ranking differs. The election itself is the shipped one: whoever is chosen is first brought up to the most complete log.
So no acknowledged write may be missing in the end, whoever was chosen: all are counted.
"""

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import msgspec
from equal_nodes import wait_until_equal
from experiment_cluster import MASTER, READY_S, REPLICAS, ExperimentCluster
from experiment_run import Experiment, Say, in_turn, markdown_table, run, spread_text
from ranking_stand_in import ranking_stand_in
from steady_writes import steady_writes
from waiting import wait_until
from write_figures import NS_A_SECOND, Stretch, stretch

SLOW, CRASHED, BEHIND = "slow", "crashed", "behind"
FAULTS = (SLOW, CRASHED, BEHIND)
FAULT_TITLES = {SLOW: "20 ms away", CRASHED: "crashed twice", BEHIND: "behind at the kill"}
DELAY_MS = 20.0
HELD_S = 0.3
"""Shorter than the collector's time-out for a probe: it is behind, and does not look dead."""
ASKED_AGAIN_S = 1.2
"""The coordinator asks for a ranking once a second (advice_interval_ms)."""
SEER, BY_NAME, AT_RANDOM = "seer", "by-name", "random"
TITLES = {SEER: "SEER", BY_NAME: "by name (SEER away)", AT_RANDOM: "at random"}


class ElectionPlan(msgspec.Struct, frozen=True):
    """Times in seconds."""

    rounds: int = 3
    clients: int = 8
    crashes: int = 2
    before_s: float = 1.5
    after_s: float = 2.0
    apart_s: float = 5.2
    """At least so long each master serves. After four epochs in a row that were shorter than 5 s, the next election is held up
    (coordinator/replication/election_pauses.py)."""
    choices: tuple[str, ...] = tuple(TITLES)


class ElectionRow(msgspec.Struct, frozen=True):
    """One killed master. Ranking, and times of the election in ms, are the coordinator's own (`GET /elections`)."""

    choice: str
    round: int
    fault_by_candidate: dict[str, str]
    ranking: list[str]
    master: str
    pause_ms: float
    """The longest time without any acknowledgement around the kill."""
    election_ms: float
    step_ms: dict[str, float]
    before: Stretch
    after: Stretch
    """With the old master back as a replica."""
    refused: int
    scores: dict[str, float]
    """SEER's totals a moment before; empty where it was away."""

    @property
    def fault_of_master(self) -> str:
        return self.fault_by_candidate[self.master]


class ElectionFound(msgspec.Struct, frozen=True):
    """`stored_rows`: what came meanwhile, as each of the four nodes holds it at the end."""

    rows: list[ElectionRow]
    acknowledged: int
    refused: int
    stored_rows: int


def faults_in(round_number: int) -> dict[str, str]:
    """Candidate -> its fault. Over three rounds each has each once."""
    return {name: FAULTS[(place + round_number) % len(FAULTS)] for place, name in enumerate(REPLICAS)}


def with_fault(fault_by_candidate: Mapping[str, str], fault: str) -> str:
    return next(name for name, its in fault_by_candidate.items() if its == fault)


def ranking_of(choice: str, chance: random.Random) -> list[str]:
    """What the stand-in for SEER says."""
    return sorted(REPLICAS) if choice == BY_NAME else chance.sample(REPLICAS, len(REPLICAS))


class Trials:
    """Masters that are killed, one after the other, on one cluster."""

    def __init__(self, cluster: ExperimentCluster, plan: ElectionPlan, seed: int, say: Say) -> None:
        self._cluster = cluster
        self._plan = plan
        self._chance = random.Random(seed)
        self._say = say
        self._rows: list[ElectionRow] = []
        self._acknowledged = self._refused = 0

    def run(self) -> ElectionFound:
        with self._cluster.coordinator():
            stored_before = self._stored_rows()
            for number in range(self._plan.rounds):
                faults = faults_in(number)
                self._prepare(faults)
                for choice in in_turn(self._plan.choices, number):
                    self._cluster.make_master(MASTER)
                    self._trial(choice, number, faults)
            self._cluster.delay(dict.fromkeys(REPLICAS, 0.0))
            stored = self._stored_rows() - stored_before
        return ElectionFound(self._rows, self._acknowledged, self._refused, stored)

    def _stored_rows(self) -> int:
        """On each node: they are equal."""
        wait_until_equal(self._cluster.handle, within_s=READY_S)
        return int(self._cluster.handle.rows_on(MASTER, "SELECT COUNT(*) FROM distributed_db.users")[0][0])

    # --- before a round

    def _prepare(self, faults: Mapping[str, str]) -> None:
        """The collector forgets what it counted, then one candidate crashes so often, and one is moved away."""
        handle, slow, crashed = self._cluster.handle, with_fault(faults, SLOW), with_fault(faults, CRASHED)
        self._cluster.make_master(MASTER)
        handle.stop("metrics-collector")
        shutil.rmtree(handle.folder / "data" / "metrics-collector")
        handle.start("metrics-collector")
        wait_until(lambda: self._metrics_of(crashed)["healthy"], READY_S)
        for count in range(1, self._plan.crashes + 1):
            os.kill(self._pid(crashed), signal.SIGKILL)
            handle.start(crashed)
            self._wait_until_counted(crashed, count)
        self._cluster.delay({name: DELAY_MS if name == slow else 0.0 for name in REPLICAS})
        self._cluster.wait_until_level()

    def _wait_until_counted(self, name: str, crashes: int) -> None:
        wait_until(lambda: self._metrics_of(name)["crash_count"] >= crashes, READY_S)

    def _metrics_of(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._cluster.handle.get("metrics-collector", f"/metrics/{name}").json()
        return answer

    def _pid(self, name: str) -> int:
        pid = self._cluster.handle.pids()[name]
        assert pid is not None
        return pid

    # --- a trial

    def _trial(self, choice: str, number: int, faults: Mapping[str, str]) -> None:
        handle, plan = self._cluster.handle, self._plan
        ranking = ranking_of(choice, self._chance)
        with self._ranked(choice, ranking), steady_writes(self._cluster.port, plan.clients) as writes:
            wait_until(lambda: bool(writes.acknowledged), READY_S)
            before_ns = time.monotonic_ns()
            time.sleep(plan.before_s)  # the time that is measured
            scores = self._scores() if choice == SEER else {}
            held_ns = time.monotonic_ns()
            killed_ns = self._kill_master(with_fault(faults, BEHIND))
            wait_until(lambda: writes.goes_on_after(killed_ns), READY_S)
            again_ns = time.monotonic_ns()
            handle.start(MASTER)
            self._cluster.wait_until_level()
            after_ns = time.monotonic_ns()
            time.sleep(plan.after_s)  # the time that is measured
            ended_ns = time.monotonic_ns()
        served_s = (time.monotonic_ns() - again_ns) / NS_A_SECOND
        time.sleep(max(0.0, plan.apart_s - served_s))  # or the next election may be held up
        self._acknowledged += len(writes.acknowledged)
        self._refused += writes.refused
        election = handle.get("coordinator", "/elections").json()["elections"][-1]
        seen = writes.acknowledged
        row = ElectionRow(
            choice=choice,
            round=number,
            fault_by_candidate=dict(faults),
            ranking=election["ranking"],
            master=election["master"],
            pause_ms=stretch(seen, killed_ns, again_ns + NS_A_SECOND // 2).longest_pause_ms,
            election_ms=election["duration_ms"],
            step_ms=election["step_ms"],
            before=stretch(seen, before_ns, held_ns),
            after=stretch(seen, after_ns, ended_ns),
            refused=writes.refused,
            scores=scores,
        )
        self._rows.append(row)
        self._say(
            f"round {number + 1} of {plan.rounds}, {TITLES[choice]:<19}: {row.master} ({FAULT_TITLES[row.fault_of_master]}) "
            f"after {row.pause_ms:.0f} ms; then {row.after.per_second:,.0f}/s, p50 {row.after.p50_ms or 0:.1f} ms"
        )

    @contextlib.contextmanager
    def _ranked(self, choice: str, ranking: Sequence[str]) -> Iterator[None]:
        """SEER, or the stand-in in its place."""
        if choice == SEER:
            time.sleep(ASKED_AGAIN_S)  # the coordinator has asked
            yield
            return
        handle = self._cluster.handle
        handle.stop("seer-service")
        with ranking_stand_in(handle.port("seer-service"), ranking, MASTER) as asked:
            wait_until(lambda: asked() > 1, READY_S)
            yield
        handle.start("seer-service")

    def _scores(self) -> dict[str, float]:
        answer = httpx.post(
            self._cluster.handle.url("seer-service") + "/elect-leader", json={}, timeout=READY_S, trust_env=False
        )
        return {name: scores["total"] for name, scores in answer.json()["scores"].items()}

    def _kill_master(self, behind: str) -> int:
        """Kill it while one candidate lacks what was written last; answers with the moment."""
        pid = self._pid(MASTER)
        self._cluster.lines.hold(behind, to_node=True, from_node=True)
        time.sleep(HELD_S)  # so long it is sent nothing
        killed_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        self._cluster.lines.heal(behind)
        return killed_ns


def measure(cluster: ExperimentCluster, plan: ElectionPlan, seed: int, say: Say) -> ElectionFound:
    return Trials(cluster, plan, seed, say).run()


def table(found: ElectionFound) -> str:
    def line(title: str, rows: Sequence[ElectionRow], masters: str) -> tuple[str, ...]:
        return (
            title,
            masters,
            spread_text([row.after.p50_ms for row in rows], 1),
            spread_text([row.after.per_second for row in rows]),
            spread_text([row.pause_ms for row in rows]),
        )

    def chosen(rows: Sequence[ElectionRow], name: Callable[[ElectionRow], str]) -> str:
        return ", ".join(name(row) for row in rows)

    head = ("", "new masters", "p50 of a write, ms", "writes/s", "failover, ms")
    by_choice = [
        line(title, rows, chosen(rows, lambda row: FAULT_TITLES[row.fault_of_master]))
        for choice, title in TITLES.items()
        if (rows := [row for row in found.rows if row.choice == choice])
    ]
    by_fault = [
        line(f"whenever it is the one {title}", rows, chosen(rows, lambda row: TITLES[row.choice]))
        for fault, title in FAULT_TITLES.items()
        if (rows := [row for row in found.rows if row.fault_of_master == fault])
    ]
    counted = (
        f"{found.acknowledged:,} acknowledged writes, {found.refused} refused, {found.stored_rows:,} rows on each node."
    )
    return f"{markdown_table(head, [*by_choice, *by_fault])}\n\n{counted}"


SEER_CHOICE = Experiment(
    "seer",
    ElectionPlan(),
    ElectionPlan(rounds=1, clients=4, crashes=1, before_s=0.2, after_s=0.3, apart_s=0.0, choices=(SEER, AT_RANDOM)),
    ElectionFound,
    measure,
    table,
)

if __name__ == "__main__":
    sys.exit(run(SEER_CHOICE))
