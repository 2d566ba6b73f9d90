"""Nodes whose rows differ: which of them is wrong, and how it comes back.

That rows differ is met when an entry has another result on a replica than it had on the master, or found when the nodes' rows are
compared (verification.py). Either way nobody is believed by rank: a commit quorum that agrees says what is right, and where there
is none, it is reported and nothing is touched.

A node in *dispute* has a log as good as any: it goes on storing rows, so it votes and is counted for commits, but it applies
none, is not read at, gives nobody a copy, and is not made master. Once a commit quorum is level without it and agrees, it is
*set aside*: it counts for nothing; "nobody's rows" is written on its disk, so that a later coordinator knows it too (being no
member would not do: such a node is filled from the log); then it gets a full copy like a bare one (copying.py), is filled, tried
and admitted. A node in another cluster's name is never touched.

Invariant: a node is set aside only while a commit quorum of sound members is there without it, so the cluster goes on.

Hard cases. The coordinator dies before the mark is written: the entry fails again when it is applied again, because the
transaction of the storing command took nothing; what a comparison found, the next comparison finds. And the master is what is
wrong: all replicas then meet the same difference at the same entry, whose recorded result is *overruled* (they compare with
their own from then on), and another is elected before the old master is set aside.
"""

from collections.abc import Callable

import msgspec

from replication.effects import Admit
from replication.log import Batch, EntryName, names_of
from replication.progress import Dispute, NodeProgress, NodeState
from replication.replies import Diverged
from replication.state import Phase, ReplicationState
from replication.values import NOBODY


class Divergence:
    """Hears of differences, and sets nodes aside."""

    def __init__(self, state: ReplicationState, lost: Callable[[NodeProgress, str], None]) -> None:
        """`lost(node, reason)` tells the others that it is not to be used; if it is the master, another one is elected."""
        self._state = state
        self._lost = lost
        self._undecided = ""
        """What was reported last as not decidable."""
        self._wait_until_ns = 0
        """How long a master that is just elected may be in dispute, for the others to say what they have."""

    # ------------------------------------------------------------------------------------------ hear

    def met(self, node: NodeProgress, reply: Diverged) -> None:
        """`node` did not apply an entry, because its result differs here."""
        self._dispute(node, Dispute(reply.reason, reply.entry, reply.rows_affected))

    def found(self, node: NodeProgress, reason: str) -> None:
        """A comparison showed that a commit quorum has other rows than `node`."""
        if self._state.phase is not Phase.SERVING or node.state is not NodeState.LEVEL:
            self._state.report(
                "warning", f"{node.name} differs, but is {node.state.value} now: compare again. {reason}"
            )
        elif node.dispute is None or not node.dispute.is_proven:
            self._dispute(node, Dispute(reason, is_proven=True))

    def _dispute(self, node: NodeProgress, dispute: Dispute) -> None:
        state = self._state
        node.dispute = dispute
        node.reason = dispute.sentence
        state.report("error", f"{node.name} DIVERGED: {dispute.evidence}")
        self._wait_until_ns = state.now_ns + state.settings.retry_ns_max
        if node.name == state.master and state.phase is Phase.SERVING:
            self._lost(node, dispute.sentence)

    # ------------------------------------------------------------------------------------------ judge

    def advance(self) -> bool:
        """Decide what can be decided: after every step. True: nodes may go on applying."""
        state = self._state
        disputing = [node for node in state.nodes.values() if node.dispute is not None]
        if not disputing:
            return False
        overruled = self._overrule(disputing)
        self._give_master_up()
        for node in disputing:
            dispute = node.dispute
            if dispute is None or state.phase is not Phase.SERVING or node.state is not NodeState.LEVEL:
                continue
            sound = self._sound_without(node, dispute)
            if len(sound) >= state.sizes.commit:
                self._convict(node, dispute.evidence, sound)
        self._report_undecided()
        return overruled

    def _give_master_up(self) -> None:
        """One that cannot apply what is committed is given up when another can; not at once, for all may have the same to say."""
        state = self._state
        if state.phase is not Phase.ELECTING or state.master is None:
            return
        master, dispute = state.master_progress, state.master_progress.dispute
        if dispute is None:
            return
        if state.now_ns >= self._wait_until_ns or any(
            other.sound and other.applied_timestamp >= dispute.entry.timestamp for other in state.replicas
        ):
            self._lost(master, dispute.sentence)

    @property
    def wake_at_ns(self) -> int | None:
        waits = self._state.phase is Phase.ELECTING and self._state.master is not None
        return self._wait_until_ns if waits and self._state.master_progress.dispute is not None else None

    def _sound_without(self, node: NodeProgress, dispute: Dispute) -> list[NodeProgress]:
        """Who may go on without it: members that nobody doubts, and that had no difference at the same entry."""
        return [
            other
            for other in self._state.nodes.values()
            if other is not node
            and other.sound
            and (dispute.is_proven or other.applied_timestamp >= dispute.entry.timestamp)
        ]

    def _overrule(self, disputing: list[NodeProgress]) -> bool:
        """A commit quorum has another result than was recorded, and the same: whoever recorded it was wrong."""
        state = self._state
        by_entry: dict[tuple[EntryName, int], list[NodeProgress]] = {}
        for node in disputing:
            dispute = node.dispute
            if dispute is not None and not dispute.is_proven and dispute.rows_affected is not None:
                by_entry.setdefault((dispute.entry, dispute.rows_affected), []).append(node)
        overruled = {key: nodes for key, nodes in by_entry.items() if len(nodes) >= state.sizes.commit}
        for (entry, rows_affected), nodes in overruled.items():
            state.overruled[entry] = rows_affected
            names = ", ".join(node.name for node in nodes)
            reason = f"{names} agree that entry {entry} affects {rows_affected} rows"
            state.report("error", f"the result recorded for entry {entry} is overruled: {reason}")
            for node in nodes:
                node.dispute, node.reason = None, ""
            for node in state.nodes.values():
                if node.state is NodeState.LEVEL and node.dispute is None and node.applied_timestamp >= entry.timestamp:
                    self._dispute(node, Dispute(reason, is_proven=True))
        return bool(overruled)

    def _convict(self, node: NodeProgress, evidence: str, sound: list[NodeProgress]) -> None:
        """It is wrong, and so is what was copied from it and has not been tried yet. A copy that is a member is none of `sound`,
        or agreed with the others: it is not set aside at once, or no commit quorum might be left."""
        state = self._state
        node.diverged = f"its rows differ and are replaced: {evidence}"
        for other in state.nodes.values():
            if other.copied_from == node.name:
                why = f"its rows are a copy of {node.name}'s, which differ"
                if other.member:
                    if other not in sound and other.state is NodeState.LEVEL and other.dispute is None:
                        self._dispute(other, Dispute(why, is_proven=True))
                    continue
                other.diverged = why
                if other.state is NodeState.COPYING:
                    state.lose_node(other, other.diverged)
                elif other.state is NodeState.LEVEL:
                    self._set_aside(other)
        self._set_aside(node)

    def _set_aside(self, node: NodeProgress) -> None:
        set_aside(self._state, node)
        self._lost(node, node.diverged)

    def _report_undecided(self) -> None:
        disputes = {node.name: node.dispute for node in self._state.nodes.values() if node.dispute is not None}
        all_spoke = len(disputes) > 1 and all(
            node.dispute is not None
            or (node.sound and all(node.applied_timestamp >= dispute.entry.timestamp for dispute in disputes.values()))
            for node in self._state.nodes.values()
        )
        told = "; ".join(f"{name}: {dispute.evidence}" for name, dispute in disputes.items()) if all_spoke else ""
        if told and told != self._undecided:
            self._state.report("error", f"nodes differ, and no majority says which are right: a person must. {told}")
        self._undecided = told or self._undecided


def set_aside(state: ReplicationState, node: NodeProgress) -> None:
    """Use a node that we have fenced for nothing (`node.diverged` says why), and tell its disk, unless that says so already."""
    node.set_aside()
    if node.status is not None and node.status.node == NOBODY:
        marked(node)
        return
    state.report("error", f"{node.name} is set aside: {node.diverged}")
    node.command = state.next_command()
    state.emit(Admit(node.name, node.command, state.epoch, state.owner, "", rows_differ=True))


def marked(node: NodeProgress) -> None:
    """It stands on the node's disk: it may be copied to."""
    node.status = None


def compared_with(batch: Batch, overruled: dict[EntryName, int]) -> Batch:
    """`batch` with the results that replicas must have: what was recorded, unless it was overruled."""
    names = names_of(batch.entries) if overruled else []
    if not any(name in overruled for name in names):
        return batch
    entries = (
        msgspec.structs.replace(entry, rows_affected=overruled.get(name, entry.rows_affected))
        for name, entry in zip(names, batch.entries, strict=True)
    )
    return msgspec.structs.replace(batch, entries=tuple(entries))
