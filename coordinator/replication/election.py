"""Taking over: fence, find the authoritative log, level a master, commit a no-op, apply, serve (design section 6).

Raft's election with passive voters. The fence is the vote: a node that was fenced into epoch e' accepts nothing of a lower
epoch any more, and says where its log ends. Because an election quorum meets every commit quorum, the most complete log
among the fenced nodes has every committed entry. Nothing is applied before the no-op of e' is on a commit quorum: only
that commits what earlier epochs left (Raft section 5.4.2), and MySQL has no undo.

Hard case: a node that lost its data has lost its promises too. It is no member (empty cluster id) and counts for nothing.
Only when *all* nodes answer and *all* logs are empty is this a new cluster: then nothing can have been committed.
"""

import enum
from collections.abc import Sequence

import msgspec

from replication.effects import Admit
from replication.election_pauses import ElectionPauses
from replication.election_record import ElectionHistory
from replication.log import Batch, LogWindow, next_row
from replication.progress import NodeProgress, NodeState
from replication.quorum import most_complete, rank_candidates
from replication.replies import Fenced
from replication.shipping import Shipping
from replication.state import Phase, ReplicationState


class ElectionStep(enum.Enum):
    PAUSING = "pausing after many elections"
    FENCING = "fencing nodes"
    ADMITTING = "admitting the nodes of a new cluster"
    LEVELLING = "bringing nodes level and committing the no-op"
    APPLYING = "the new master applies what is committed"


class Election:
    """The takeover under way, if `state.phase` is ELECTING."""

    def __init__(self, state: ReplicationState, shipping: Shipping) -> None:
        self._state = state
        self._shipping = shipping
        self.step = ElectionStep.FENCING
        self.reason = ""
        self.waits_for = ""
        self.count = 0
        self.suspects: set[str] = set()
        """Masters that failed in this or the last epoch: not tried first again. Membership tests only."""
        self.preferred: str | None = None
        """Whom a planned switchover wants, if it may be chosen."""
        self.taken_over_by = ""
        """The owner of the epoch in which an election quorum was found: somebody else has won."""
        self.history = ElectionHistory()
        self._taken: dict[str, tuple[int, str]] = {}
        """Node -> the epoch and owner that outbid this attempt."""
        self._above_all = True
        self._unadmitted: dict[int, NodeProgress] = {}
        self._pauses = ElectionPauses(state)
        self._begin_again_at_ns: int | None = None

    # ------------------------------------------------------------------------------------------ fence

    def begin(self, reason: str, *, above_all: bool = False) -> None:
        """The epoch is over, or could not be had: elect, after a pause if that happens again and again.

        A coordinator that has served asks for the next epoch, and learns from the refusals whether it was taken over from; only
        where nobody else has an election quorum does it go `above_all` that it has seen. One that starts does so at once.
        """
        state = self._state
        self._above_all = above_all or not state.has_served
        if state.phase is Phase.ELECTING:
            waits_ns, why = self._pauses.after_an_attempt()
        else:
            waits_ns, why = self._pauses.after_an_epoch()
            self.reason = reason
            self.history.begin(reason, state.now_ns, state.wall_us)
        state.report("info", f"election: {reason}")
        state.phase = Phase.ELECTING
        state.master = None
        state.source = None
        self._shipping.forget()
        for node in state.nodes.values():
            if node.state is not NodeState.COPYING:
                node.command = None
                node.forget_change()
        if waits_ns and self.preferred is None:
            self._enter(ElectionStep.PAUSING)
            self.waits_for = f"a pause of {waits_ns / 1e6:.0f} ms after {why}"
            self._begin_again_at_ns = state.now_ns + waits_ns
        else:
            self._fence_all()

    def skip_pause(self) -> None:
        """A person does not want to wait."""
        if self._begin_again_at_ns is not None:
            self._fence_all()

    def _fence_all(self) -> None:
        """Start over in a new epoch, greater than any seen."""
        state = self._state
        state.epoch = (max(state.epoch, state.epoch_seen) if self._above_all else state.epoch) + 1
        state.master = None
        state.source = None
        self.history.attempt(state.epoch)
        self._enter(ElectionStep.FENCING)
        self.waits_for = "the nodes' answers"
        self.count += 1
        self._fence_began_ns = state.now_ns
        self._look_again_at_ns = state.now_ns + state.settings.retry_ns_max
        self._begin_again_at_ns = None
        self._unadmitted.clear()
        self._taken.clear()
        self._shipping.forget()
        for node in state.nodes.values():
            if node.state not in (NodeState.QUARANTINED, NodeState.COPYING):
                self._shipping.fence(node)

    def _enter(self, step: ElectionStep) -> None:
        self.step = step
        self.history.step(step.value, self._state.now_ns)

    def fenced(self, node: NodeProgress, reply: Fenced) -> None:
        node.take_status(reply.status, self._state.epoch, self._state.owner)
        if self.step is ElectionStep.FENCING:
            self.consider()
        elif self._state.source is not None:
            self._shipping.match(node)

    def outbid(self, name: str, epoch: int, owner: str) -> None:
        """Somebody has this epoch or a greater one. A coordinator that starts begins again above it: that is how it takes over.
        One that has served hears the others first: where an election quorum is somebody else's, it was taken over from."""
        state = self._state
        state.epoch_seen = max(state.epoch_seen, epoch)
        if self._begin_again_at_ns is not None:
            return
        self._taken[name] = (epoch, owner)
        if not state.has_served:
            self.begin(f"epoch {epoch} was somebody else's already")
        elif self.step is ElectionStep.FENCING:
            if len(self._taken) == 1:
                self._ask_the_rest()
            self.consider()
        elif sum(node.name not in self._taken for node in state.fenced_members()) < state.sizes.commit:
            # whoever is away or no member cannot commit the no-op in its place
            self.begin(f"epoch {epoch} was somebody else's before this one was won")

    def _ask_the_rest(self) -> None:
        """The others have their chance from now on: they may be away only because somebody else's fence ended our connections,
        and what one told before it may be old."""
        self._fence_began_ns = self._state.now_ns
        for node in self._state.nodes.values():
            if node.name not in self._taken and (node.state is NodeState.AWAY or node.fenced):
                self._shipping.fence(node)

    def _hear_the_outbid(self, *, is_complete: bool) -> None:
        """Who has the nodes that are not ours? Known when all have answered, or the others had their chance."""
        epoch, owner = max(self._taken.values())
        if list(self._taken.values()).count((epoch, owner)) >= self._state.sizes.election:
            self.taken_over_by = owner
        elif is_complete:
            self.begin(f"epoch {epoch} was somebody else's already", above_all=True)

    @property
    def wake_at_ns(self) -> int | None:
        state = self._state
        if self._begin_again_at_ns is not None:
            return self._begin_again_at_ns
        bare = [node for node in state.nodes.values() if node.state is NodeState.BARE]
        times = [node.asked_ns + state.settings.retry_ns_max for node in bare]
        if self.step is ElectionStep.FENCING:
            grace_ends = self._fence_began_ns + state.settings.fence_grace_ns
            times.append(grace_ends if grace_ends > state.now_ns else self._look_again_at_ns)
        return min(times, default=None)

    def _look_at_the_bare(self) -> None:
        """Somebody else's copy may be complete by now, and have a vote."""
        state = self._state
        for node in state.nodes.values():
            if node.state is NodeState.BARE and state.now_ns >= node.asked_ns + state.settings.retry_ns_max:
                self._shipping.fence(node)

    def woken(self) -> None:
        state = self._state
        if self._begin_again_at_ns is None:
            self._look_at_the_bare()
        elif state.now_ns >= self._begin_again_at_ns:
            self._fence_all()
            return
        if self.step is ElectionStep.FENCING:
            self.consider()
            if self.step is ElectionStep.FENCING and state.now_ns >= self._look_again_at_ns:
                # another coordinator may have come meanwhile, levelled the nodes, and died
                self._look_again()

    def _look_again(self) -> None:
        """Fence the fenced ones again, in the same epoch: they tell whether that still holds."""
        state = self._state
        self._look_again_at_ns = state.now_ns + state.settings.retry_ns_max
        for node in state.nodes.values():
            if node.state is NodeState.MATCHING:
                self._shipping.fence(node)

    # ------------------------------------------------------------------------------------------ decide

    def consider(self) -> None:
        """Go on if enough nodes are fenced and the others had their chance."""
        state = self._state
        if self.step is not ElectionStep.FENCING or self._begin_again_at_ns is not None:
            return
        waiting = [node.name for node in state.nodes.values() if node.state is NodeState.FENCING]
        in_grace = state.now_ns - self._fence_began_ns < state.settings.fence_grace_ns
        if self._taken:
            self._hear_the_outbid(is_complete=not (waiting and in_grace))
            return
        members = self._largest_cluster()
        if waiting and in_grace and (len(members) < state.sizes.election or self._wanted(members) in waiting):
            return
        if self._is_new_cluster():
            self._admit_all()
            return
        if len(members) < state.sizes.election:
            names = ", ".join(node.name for node in members) or "none"
            self.waits_for = f"an election quorum: {len(members)} of {state.sizes.election} members answer ({names})"
            return
        self._decide(members)

    def _wanted(self, members: Sequence[NodeProgress]) -> str:
        """The node that is worth waiting for: who would be master if it answered."""
        newest = max(members, key=lambda node: node.log_position)
        recorded = newest.status.master if newest.status is not None else ""
        return self.preferred or (recorded if recorded not in self.suspects else "")

    def _largest_cluster(self) -> list[NodeProgress]:
        """The fenced members that say the same cluster id; one node of another cluster must not disturb the rest."""
        by_id: dict[str, list[NodeProgress]] = {}
        for node in self._state.fenced_members():
            if node.status is not None:
                by_id.setdefault(node.status.cluster_id, []).append(node)
        return max((by_id[name] for name in sorted(by_id)), key=len, default=[])

    def _is_new_cluster(self) -> bool:
        nodes = list(self._state.nodes.values())
        return (
            all(node.fenced and node.status is not None for node in nodes)
            and all(node.status is not None and node.status.log_end.position.timestamp == 0 for node in nodes)
            and any(not node.member for node in nodes)
        )

    def _admit_all(self) -> None:
        state = self._state
        known = sorted({n.status.cluster_id for n in state.nodes.values() if n.status is not None} - {""})
        state.cluster_id = known[0] if known else state.new_cluster_id
        self._enter(ElectionStep.ADMITTING)
        for node in state.nodes.values():
            node.command = state.next_command()
            self._unadmitted[node.command] = node
            state.emit(Admit(node.name, node.command, state.epoch, state.owner, state.cluster_id))

    def admitted(self, command: int) -> bool:
        """Whether `command` admitted a founding node. All must be admitted before there is a first row: a crash in
        between finds all logs empty again."""
        node = self._unadmitted.pop(command, None)
        if node is None:
            return False
        node.command = None
        node.member = True
        assert node.status is not None
        node.status = msgspec.structs.replace(node.status, cluster_id=self._state.cluster_id, node=node.name)
        if not self._unadmitted:
            self._decide(self._state.fenced_members())
        return True

    def _decide(self, members: list[NodeProgress]) -> None:
        state = self._state
        ends = {node.name: node.status.log_end.position for node in members if node.status is not None}
        state.source = most_complete(ends)
        status = state.nodes[state.source].status
        assert status is not None
        state.cluster_id = status.cluster_id
        state.window = LogWindow(status.log_end, state.settings.window_bytes_max)
        state.committed_timestamp = max(n.status.committed_timestamp for n in members if n.status is not None)
        # a new cluster begins with the node that is named first
        recorded = status.master or next(iter(state.nodes))
        incumbent = self.preferred if self.preferred in ends else recorded
        # completeness is a filter: who cannot be brought level from the log that is there cannot lead
        reaches_back = [
            node.name
            for node in members
            if node.status is not None and node.applied_timestamp >= status.log_begin.timestamp and node.dispute is None
        ]
        if not reaches_back:
            state.source = None
            self.waits_for = "a master: the rows of all that answer are in doubt"
            return
        ranking = rank_candidates(sorted(reaches_back), incumbent, state.ranking)
        # one that failed as master is taken only if there is no other
        state.master = next((name for name in ranking if name not in self.suspects), ranking[0])
        self.history.ranked(ranking, self._rejections(ranking))
        noop_timestamp = status.log_end.position.timestamp + 1
        state.window.append(next_row(status.log_end, state.epoch, Batch(state.wall_us, ()), noop_timestamp))
        self._enter(ElectionStep.LEVELLING)
        self.waits_for = f"the no-op of epoch {state.epoch} on a commit quorum with {state.master}"
        for node in state.nodes.values():
            if node.state is NodeState.MATCHING:
                self._shipping.match(node)

    def _rejections(self, candidates: Sequence[str]) -> dict[str, str]:
        """Why nodes were passed over, for people."""
        rejected = {name: "it failed as master" for name in sorted(self.suspects) if name in candidates}
        for node in self._state.nodes.values():
            if node.name not in candidates:
                what = "its log ends before the others' begin" if node.member else "no member: it lost its data"
                rejected[node.name] = node.reason or (what if node.fenced else node.state.value)
        return rejected

    # ------------------------------------------------------------------------------------------ serve

    def stored(self) -> bool:
        """Rows were stored somewhere. True: the new master has all and may serve."""
        state = self._state
        if state.master is None:
            return False
        noop, master = state.window.end.position, state.master_progress
        if self.step is ElectionStep.LEVELLING and master.has(noop):
            replicas = [node for node in state.replicas if node.member and node.has(noop)]
            if len(replicas) >= state.sizes.commit_replicas:
                state.committed_timestamp = noop.timestamp
                state.committed_at_ns = state.now_ns
                self._enter(ElectionStep.APPLYING)
                self.waits_for = f"{state.master} to apply what is committed"
                self._shipping.ship_all()
        if self.step is ElectionStep.APPLYING and master.applied_timestamp == noop.timestamp:
            self._serve()
            return True
        return False

    def _serve(self) -> None:
        state = self._state
        state.phase = Phase.SERVING
        state.has_served = True
        state.source = state.master
        self.suspects.clear()
        self.preferred = None
        self._pauses.won()
        self.waits_for = ""
        self.history.end(state.master or "", state.now_ns)
        took_ms = self.history.records[-1].duration_ms
        state.report("info", f"{state.master} is master in epoch {state.epoch}, after {took_ms:.0f} ms: {self.reason}")
