"""Strong reads: confirm that the epoch is still ours, then read where everything acknowledged is applied.

Raft's ReadIndex (Raft thesis section 6.4) with passive nodes: after a read has arrived, the fence is read afresh on enough
nodes to meet every election quorum. One round serves all reads that arrived before it began; those that arrive during it
wait for the next. The same rounds, when nobody waits, are the heartbeat; it beats while an election brings nodes level
too, where a node that hangs would otherwise be waited for until its storing command times out.

A read may see more than was acknowledged: the master shows a batch from its COMMIT on, before the coordinator hears of
it. A later read must not see less, so while a COMMIT or a schema change is under way only the master is read at; and while a
new master has not executed a schema change that the last one may have shown, nobody is.

Hard case: a deposed coordinator that does not know it yet. Some node of its confirmation quorum is in the new epoch, so the
round cannot succeed. A node's answer that began before the read arrived proves nothing and is not counted.
"""

import msgspec

from replication.effects import ConfirmEpoch, Fail, ReadAllowed, ReadRefused, Refuse
from replication.events import ReadArrived
from replication.progress import NodeProgress, NodeState, expected_ns
from replication.replies import EpochSeen
from replication.state import Phase, ReplicationState
from replication.values import ReadLevel
from replication.weak_reads import WeakReads


class Waiter(msgspec.Struct, frozen=True):
    """What a confirmation releases: a read, or refusals (which are reads of the master's rows)."""

    deadline_ns: int
    read_id: int = 0
    refusals: tuple[Refuse, ...] = ()


class ReadPath:
    """Strong reads from arrival to leave, and the heartbeat. Weaker ones are weak_reads.py's."""

    def __init__(self, state: ReplicationState) -> None:
        self._state = state
        self._weak = WeakReads(state)
        self._waiting: list[Waiter] = []
        self._round: list[Waiter] | None = None
        self._asked: dict[str, int] = {}
        self._confirmed: dict[str, None] = {}
        self._heartbeat_at_ns = 0
        self._retry_at_ns = 0
        self._round_began = (0, 0)
        """When, and what was committed then."""
        self.master_may_be_ahead = False
        """It was told to commit a batch, or to change the schema, and what became of that is not committed yet."""
        self.waits_for_change = False
        """An earlier master may have shown a schema change that this one has not executed yet."""

    def arrived(self, read: ReadArrived) -> None:
        if self._state.phase is Phase.DEPOSED:
            self._state.emit(ReadRefused(read.read_id, "another coordinator has taken over: send the request there"))
            return
        if read.need.level is ReadLevel.STRONG or not self._weak.arrived(read):
            self._confirm(read)

    def _confirm(self, read: ReadArrived) -> None:
        self._waiting.append(Waiter(read.deadline_ns, read_id=read.read_id))
        self.start_round()

    def advance(self) -> None:
        """After every step: a node may be good enough by now."""
        for read in self._weak.advance():
            self._confirm(read)

    @property
    def waiting(self) -> int:
        """How many reads wait for their leave."""
        return len(self._waiting) + len(self._round or ()) + self._weak.waiting

    def staleness_ns(self, node: NodeProgress) -> int | None:
        """Every write that was acknowledged so long ago is in the node's rows; None: nobody can tell."""
        if node.applied_timestamp >= self._state.committed_timestamp:
            return 0
        return self._weak.staleness_ns(node)

    def confirm_refusals(self, refusals: tuple[Refuse, ...], deadline_ns: int) -> None:
        self._waiting.append(Waiter(deadline_ns, refusals=refusals))
        self.start_round()

    # ------------------------------------------------------------------------------------------ rounds

    def start_round(self) -> None:
        """Begin a round if somebody waits, or the heartbeat is due, and none is under way."""
        state = self._state
        if not self._beats or self._round is not None or state.now_ns < self._retry_at_ns:
            return
        serves = state.phase is Phase.SERVING
        if not (self._waiting and serves) and state.now_ns < self._heartbeat_at_ns:
            return
        self._heartbeat_at_ns = state.now_ns + state.settings.heartbeat_ns
        self._round, self._round_began = [], (state.now_ns, state.committed_timestamp)
        if serves:
            # nothing is read in an election: what is committed is not applied yet
            self._round, self._waiting = self._waiting, []
        self._asked.clear()
        self._confirmed.clear()
        for node in state.nodes.values():
            # a node that still owes an older answer is slow: that answer would prove nothing for these reads
            if node.fenced and node.confirm_command is None:
                node.confirm_command = self._asked[node.name] = state.next_command()
                state.emit(ConfirmEpoch(node.name, node.confirm_command))
        self._judge()

    def serve(self) -> None:
        """The election is over. Nobody waits for its last heartbeat, so neither do the reads: a node that was asked may hang."""
        self._round = None
        self._retry_at_ns = 0
        self.start_round()

    @property
    def _beats(self) -> bool:
        """While it serves, and once an election has decided whose log counts."""
        state = self._state
        return state.phase is Phase.SERVING or (state.phase is Phase.ELECTING and state.source is not None)

    def confirmed(self, node: NodeProgress, command: int, reply: EpochSeen) -> None:
        """A node told its fence. (A greater epoch than ours deposes us before this is called.)"""
        node.confirm_command = None
        state = self._state
        if self._asked.get(node.name) != command:
            return
        del self._asked[node.name]
        node.heard_ns = self._round_began[0]
        if reply.epoch == state.epoch and reply.owner == state.owner and node.member:
            self._confirmed[node.name] = None
        self._judge()

    def node_lost(self, name: str) -> None:
        if self._asked.pop(name, None) is not None:
            self._judge()

    def _judge(self) -> None:
        state = self._state
        if self._round is None:
            return
        level = self._level_nodes()
        if len(self._confirmed) >= state.sizes.confirmation and state.phase is Phase.SERVING:
            self._weak.moments.add(*self._round_began)
        if len(self._confirmed) >= state.sizes.confirmation and level:
            released, self._round = self._round, None
            for waiter in released:
                self._release(waiter, level)
            self.start_round()
        elif not self._asked or len(self._confirmed) + len(self._asked) < state.sizes.confirmation:
            self._waiting[:0] = self._round
            self._round = None
            self._retry_at_ns = state.now_ns + state.settings.heartbeat_ns // 10

    def _level_nodes(self) -> list[NodeProgress]:
        """Confirmed nodes that applied everything committed: the master, and replicas when nothing was written just now.

        Confirmed, because a node that was not heard of in this round may have come back without its data.
        """
        state = self._state
        if self.waits_for_change:
            return []
        nodes = [state.nodes[name] for name in self._confirmed if name == state.master or not self.master_may_be_ahead]
        committed = state.committed_timestamp
        return [
            node
            for node in nodes
            if node.state is NodeState.LEVEL and node.applied_timestamp >= committed and node.dispute is None
        ]

    def _release(self, waiter: Waiter, level: list[NodeProgress]) -> None:
        for refusal in waiter.refusals:
            self._state.emit(refusal)
        if waiter.read_id:
            # where it is likely done first
            node = min(level, key=expected_ns)
            node.reads_under_way += 1
            self._state.emit(ReadAllowed(waiter.read_id, node.name, node.applied_timestamp, 0, node.heard_ns))

    def finished(self, node: NodeProgress, latency_ns: int) -> None:
        node.reads_under_way = max(0, node.reads_under_way - 1)
        node.read_latency_ns += ((node.read_latency_ns or latency_ns) * 0.9 + latency_ns * 0.1) - node.read_latency_ns

    # ------------------------------------------------------------------------------------------ ends

    def interrupt(self) -> None:
        """The epoch ends: waiters wait for the next one."""
        if self._round is not None:
            self._waiting[:0] = self._round
            self._round = None
        self._asked.clear()
        self._confirmed.clear()
        self._retry_at_ns = 0

    def depose(self) -> None:
        self.interrupt()
        reason = "another coordinator has taken over: send the request there"
        self._refuse_waiting(self._waiting, reason)
        self._waiting = []
        self._weak.refuse_all(reason)

    def expire(self) -> None:
        self._weak.expire()
        now_ns = self._state.now_ns
        late = [waiter for waiter in self._waiting if waiter.deadline_ns <= now_ns]
        if late:
            self._waiting = [waiter for waiter in self._waiting if waiter.deadline_ns > now_ns]
            needed = self._state.sizes.confirmation
            self._refuse_waiting(late, f"fewer than {needed} nodes confirmed this coordinator before the deadline")

    def _refuse_waiting(self, waiters: list[Waiter], reason: str) -> None:
        for waiter in waiters:
            if waiter.read_id:
                self._state.emit(ReadRefused(waiter.read_id, reason))
            for refusal in waiter.refusals:
                self._state.emit(Fail(refusal.request_id, committed=False, reason=reason))

    @property
    def wake_at_ns(self) -> int | None:
        times = [waiter.deadline_ns for waiter in self._waiting]
        if self._beats and self._round is None:
            serves = self._state.phase is Phase.SERVING
            due_ns = self._state.now_ns if serves and self._waiting else self._heartbeat_at_ns
            times.append(max(due_ns, self._retry_at_ns))
        times += [] if self._weak.wake_at_ns is None else [self._weak.wake_at_ns]
        return min(times, default=None)
