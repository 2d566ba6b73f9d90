"""One replicator driven by hand: each effect waits until the test carries it out, loses it or answers it otherwise.

The nodes are the simulation's models, so a test says only what is unusual. Timestamps are granted at once.
"""

from typing import TypeVar

from model_node import CommandLost, ModelNode

from replication.effects import (
    Answer,
    CommitBatch,
    CopyData,
    Effect,
    ExecuteBatch,
    NodeCommand,
    NodeEffect,
    PrepareRow,
    ReadAllowed,
    ReadRefused,
    Report,
    RequestTimestamps,
    SnapshotsTaken,
    StoreRows,
)
from replication.events import Event, NodeFailed, NodeReplied, ReadArrived, TimestampsGranted, Woken, WriteArrived
from replication.log import Batch, Entry, LogEnd, LogRow, batch_of, next_row
from replication.replicator import Replicator
from replication.replies import Reply
from replication.state import MILLISECOND_NS, Phase, ReplicationSettings
from replication.values import STRONG, Certainty, ReadNeed, Request, RequestStatement

NAMES = ("mysql-master", "replica-1", "replica-2", "replica-3")
MASTER, REPLICA_1, REPLICA_2, REPLICA_3 = NAMES
DEADLINE_MS = 3_000
CHANGE_DEADLINE_MS = 60_000


Command = TypeVar("Command", bound=NodeCommand)


class Bench:
    """A replicator, four model nodes, and the commands that were sent and not carried out yet."""

    def __init__(
        self,
        nodes: dict[str, ModelNode] | None = None,
        owner: str = "coordinator-1",
        settings: ReplicationSettings | None = None,
    ) -> None:
        self.nodes = nodes if nodes is not None else {name: ModelNode(name) for name in NAMES}
        self.owner = owner
        self.replicator = Replicator(NAMES, owner=owner, new_cluster_id="cluster", settings=settings)
        self.state = self.replicator.state
        self.now_ns = 0
        self.sent: list[NodeEffect] = []
        self.answers: dict[int, Answer] = {}
        self.reads: dict[int, ReadAllowed | ReadRefused] = {}
        self.reports: list[Report] = []
        self.taken: SnapshotsTaken | None = None
        """What is told to who waits for snapshots."""
        self._last_id = 0
        self._last_number = 0

    # ------------------------------------------------------------------------------------------ steps

    def step(self, event: Event) -> list[Effect]:
        """One step. Commands on nodes wait in `sent`; answers are kept."""
        effects = self.replicator.step(event, self.now_ns, self.now_ns // 1000)
        for effect in effects:
            if isinstance(effect, NodeCommand):
                self.sent.append(effect)
            elif isinstance(effect, Answer):
                assert effect.request_id not in self.answers, f"answered twice: {effect}"
                self.answers[effect.request_id] = effect
            elif isinstance(effect, ReadAllowed | ReadRefused):
                assert effect.read_id not in self.reads, f"a read was given leave twice: {effect}"
                self.reads[effect.read_id] = effect
            elif isinstance(effect, SnapshotsTaken):
                assert self.taken is None, "whoever waits for snapshots was told twice"
                self.taken = effect
            elif isinstance(effect, Report):
                self.reports.append(effect)
            elif isinstance(effect, RequestTimestamps):
                self._grant(effect)
        return effects

    def _grant(self, effect: RequestTimestamps) -> None:
        first = max(self._last_number, effect.after) + 1
        self._last_number = first + effect.count - 1
        self.step(TimestampsGranted(first, self._last_number, 1))

    def pass_time(self, ms: float) -> None:
        self.now_ns += int(ms * MILLISECOND_NS)
        self.step(Woken())

    def write(
        self, sql: str, deadline_ms: int = DEADLINE_MS, schema_version: int = 0, row_at: int = 0, row_schema: int = 0
    ) -> int:
        statement = RequestStatement(sql, inserts=True, row_at=row_at)
        return self.request(statement, deadline_ms=deadline_ms, versions=(schema_version, row_schema))

    def request(
        self, *statements: RequestStatement, deadline_ms: int = DEADLINE_MS, versions: tuple[int, int] = (0, 0)
    ) -> int:
        """All or nothing. `versions`: its schema_version and row_schema."""
        self._last_id += 1
        deadline_ns = self.now_ns + deadline_ms * MILLISECOND_NS
        self.step(WriteArrived(Request(self._last_id, statements, deadline_ns, False, *versions)))
        return self._last_id

    def change_schema(self, sql: str, deadline_ms: int = CHANGE_DEADLINE_MS) -> int:
        self._last_id += 1
        deadline_ns = self.now_ns + deadline_ms * MILLISECOND_NS
        self.step(WriteArrived(Request(self._last_id, (RequestStatement(sql),), deadline_ns, changes_schema=True)))
        return self._last_id

    def read(self, need: ReadNeed = STRONG) -> int:
        self._last_id += 1
        self.step(ReadArrived(self._last_id, self.now_ns + DEADLINE_MS * MILLISECOND_NS, need))
        return self._last_id

    # ------------------------------------------------------------------------------------------ commands

    def waiting(self, kind: type[Command], node: str | None = None) -> list[Command]:
        """Commands of this kind that were sent and not carried out yet, oldest first."""
        return [effect for effect in self.sent if isinstance(effect, kind) and node in (None, effect.node)]

    def take(self, kind: type[Command], node: str) -> Command:
        """The oldest such command; it is the test's now."""
        found = self.waiting(kind, node)
        assert found, f"no {kind.__name__} waits for {node}; sent: {self.sent}"
        self.sent = [effect for effect in self.sent if effect is not found[0]]
        return found[0]

    def reply(self, effect: NodeCommand, reply: Reply) -> list[Effect]:
        return self.step(NodeReplied(effect.node, effect.command, reply))

    def fail(self, effect: NodeCommand, reason: str = "no answer in time") -> list[Effect]:
        return self.step(NodeFailed(effect.node, effect.command, Certainty.UNKNOWN, reason))

    def do(self, kind: type[Command], node: str) -> Command:
        """Carry the oldest such command out and hand the reply over."""
        effect = self.take(kind, node)
        self._carry_out(effect)
        return effect

    def do_and_lose_the_answer(self, kind: type[Command], node: str) -> Command:
        effect = self.take(kind, node)
        self.at_node(effect)
        self.fail(effect)
        return effect

    def lose(self, kind: type[Command], node: str) -> Command:
        """The command never arrives."""
        effect = self.take(kind, node)
        self.fail(effect)
        return effect

    def at_node(self, effect: NodeCommand) -> Reply:
        """Carry out without telling the replicator. Raises CommandLost."""
        assert isinstance(effect, NodeEffect)
        return self.nodes[effect.node].carry_out(effect, self.owner)

    def _carry_out(self, effect: NodeCommand) -> None:
        try:
            reply = self.at_node(effect)
        except CommandLost as lost:
            self.fail(effect, str(lost))
        else:
            self.reply(effect, reply)

    def settle(self, *, without: tuple[str, ...] = (), slow: tuple[type[NodeCommand], ...] = ()) -> None:
        """Carry everything out, oldest first, until nothing waits but what is for the nodes `without` or `slow`. A copy is."""
        slow = (*slow, CopyData)
        for _ in range(10_000):
            due = (each for each in self.sent if each.node not in without and not isinstance(each, slow))
            effect = next(due, None)
            if effect is None:
                return
            self.sent.remove(effect)
            self._carry_out(effect)
        raise AssertionError("it does not come to rest")

    def crash(self, node: str) -> None:
        """All that waits for the node fails, and its open transaction is gone."""
        self.nodes[node].crash()
        lost = [effect for effect in self.sent if effect.node == node]
        self.sent = [effect for effect in self.sent if effect.node != node]
        for effect in lost:
            self.fail(effect)

    # ------------------------------------------------------------------------------------------ short cuts

    @property
    def serving(self) -> bool:
        return self.state.phase is Phase.SERVING

    def election(self, *, without: tuple[str, ...] = (), slow: tuple[type[NodeCommand], ...] = ()) -> None:
        """Let an election run to its end."""
        self.settle(without=without, slow=slow)
        for _ in range(20):
            rest = [each for each in self.sent if each.node not in without and not isinstance(each, slow)]
            if self.serving and not rest:
                return
            self.pass_time(100)
            self.settle(without=without, slow=slow)
        raise AssertionError(f"no election: {self.replicator.election.waits_for}")

    @property
    def master(self) -> str:
        assert self.state.master is not None
        return self.state.master

    def commit_batch(self) -> None:
        """The batch under way goes all its way, with all replicas."""
        self.do(ExecuteBatch, self.master)
        self.do(PrepareRow, self.master)
        for node in self.state.replicas:
            self.do(StoreRows, node.name)
        self.do(CommitBatch, self.master)

    def write_together(self, *sqls: str) -> list[int]:
        """Writes of one batch, which is just being executed: they arrived while another was under way."""
        self.write(f"write {self._last_id + 1}")
        ids = [self.write(sql) for sql in sqls]
        self.commit_batch()
        return ids

    def flush(self, *, without: tuple[str, ...] = (), slow: tuple[type[NodeCommand], ...] = ()) -> None:
        """Everything committed is applied everywhere, but for what waits for the `slow` commands."""
        self.settle(without=without, slow=slow)
        self.pass_time(20)
        self.settle(without=without, slow=slow)


def serving_bench(settings: ReplicationSettings | None = None) -> Bench:
    """A new cluster that serves; nothing is under way and everything is applied."""
    bench = Bench(settings=settings)
    bench.step(Woken())
    bench.settle()
    bench.flush()
    assert bench.serving
    assert bench.state.master == MASTER
    return bench


def row_after(end: LogEnd, epoch: int, *timestamps: int) -> LogRow:
    """A row whose entries say which epoch and timestamp they are of. No timestamps: a no-op just after `end`."""
    entries = tuple(Entry(timestamp, f"entry {timestamp} of {epoch}", 1, timestamp) for timestamp in timestamps)
    return next_row(end, epoch, Batch(0, entries), end.position.timestamp + 1)


def extend(node: ModelNode, *rows: tuple[int, ...]) -> None:
    """Append rows, each (epoch, timestamp, …), to a node's disk, unapplied."""
    for epoch, *timestamps in rows:
        node.log.append(row_after(node.log_end, epoch, *timestamps))
        node.epoch = max(node.epoch, epoch)


def apply_all(node: ModelNode) -> None:
    """All that the node's log has is committed and applied on its disk."""
    node.data = [entry for row in node.log for entry in batch_of(row).entries]
    node.applied = node.committed = node.log_end.position.timestamp


def member(name: str, *rows: tuple[int, ...], applied: bool = False) -> ModelNode:
    """A member of the cluster with these rows."""
    node = ModelNode(name)
    node.cluster_id, node.node, node.master = "cluster", node.name, MASTER
    extend(node, *rows)
    if applied:
        apply_all(node)
    return node
