"""The protocol with one rule broken at a time: a simulation that cannot notice these proves nothing.

Each variant patches the one place where its rule stands, in the replicator or in the model of a node. The invariants that are
checked after every step are switched off meanwhile: the promises themselves must show the breach (design sections 1 and 10).

    PYTHONPATH=coordinator python tests/simulation/broken_variants.py [NAME] [COUNT] [FIRST SEED]

prints how many schedules each one takes; run it again and pin what it finds whenever a change moves the schedules.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from model_node import ModelNode
from schedules import Lost, NotServing, run
from world import World

import replication.election
from replication import invariants
from replication.election import Election
from replication.log import LogRow, LogWindow, Position, end_after
from replication.messages import (
    Admit,
    CommitBatch,
    Fence,
    Fenced,
    NodeStatus,
    Outbid,
    PositionsRead,
    ReadArrived,
    Reply,
)
from replication.progress import NodeProgress, NodeState
from replication.quorum import QuorumSizes
from replication.reads import ReadPath, Waiter
from replication.replicator import Replicator
from replication.shipping import Shipping
from replication.timestamps import TimestampStock
from replication.write_path import Stage, WritePath

HERE = str(Path(__file__).resolve().parent)
Patch = tuple[Any, str, Any]


class Variant(msgspec.Struct, frozen=True):
    """One broken rule: where it is patched, and the first schedule that shows why the rule is needed."""

    name: str
    seed: int
    patches: tuple[Patch, ...]


# ---------------------------------------------------------------------------------------------- quorums


def sizes(*, commit_replicas: int = 2, election: int = 3) -> Patch:
    wrong = QuorumSizes(nodes=4, commit_replicas=commit_replicas, commit=3, election=election)
    return (QuorumSizes, "of", staticmethod(lambda _: wrong))


def most_complete_by_timestamp(log_ends: dict[str, Position]) -> str:
    return max(sorted(log_ends), key=lambda name: log_ends[name].timestamp)


def empty_node_votes(self: Election) -> list[NodeProgress]:
    clusters = [node.status.cluster_id for node in self._state.fenced_members() if node.status is not None]
    if not clusters:
        return []
    return [node for node in self._state.nodes.values() if node.fenced and node.status is not None]


def trust_an_old_copy(self: NodeProgress, status: NodeStatus, fenced_epoch: int) -> None:
    self.promised_epoch, self.acknowledged_end = 0, Position(0, 0)
    TAKE_STATUS(self, status, fenced_epoch)


TAKE_STATUS = NodeProgress.take_status


def count_at_once(self: Replicator, node: NodeProgress) -> None:
    state = self.state
    if node.idle and node.has(state.window.end.position):
        node.command = state.next_command()
        state.emit(Admit(node.name, node.command, state.epoch, state.owner, state.cluster_id))


def holders_without_membership(self: WritePath, row: LogRow) -> list[str]:
    return [node.name for node in self._state.replicas if node.has(row.position)]


# ---------------------------------------------------------------------------------------------- election


class WindowWithoutNoop(LogWindow):
    """Leaves out the first row that is appended to it: an election's no-op."""

    noop_left_out = False

    def append(self, row: LogRow) -> None:
        if self.noop_left_out:
            super().append(row)
        self.noop_left_out = True


def apply_before_noop(self: Election, members: list[NodeProgress]) -> None:
    """What the most complete log has counts as committed at once."""
    source = max(members, key=lambda node: node.log_position)
    assert source.status is not None
    source.status = msgspec.structs.replace(source.status, committed_timestamp=source.status.log_end.position.timestamp)
    DECIDE(self, members)


DECIDE = Election._decide


# ---------------------------------------------------------------------------------------------- writes


def answer_when_prepared(self: WritePath) -> None:
    batch = self.batch
    assert batch is not None
    self._answer(batch, [node.name for node in self._state.replicas])
    batch.expired.update(dict.fromkeys(request.request_id for _, request in batch.requests))
    PREPARED(self)


def answer_before_the_master_commits(self: WritePath) -> None:
    STORED(self)
    batch = self.batch
    if batch is not None and batch.stage is Stage.COMMITTING and not batch.expired:
        self._answer(batch, batch.holders)
        batch.expired.update(dict.fromkeys(request.request_id for _, request in batch.requests))


PREPARED, STORED, COMMITTED = WritePath.prepared, WritePath.stored, WritePath.committed


def master_commits_first(self: WritePath) -> None:
    assert self.batch is not None
    self.batch.prepared = True
    self.batch.stage = Stage.COMMITTING
    self._command_master(CommitBatch)


def committed_first(self: WritePath) -> None:
    assert self.batch is not None
    self._state.master_progress.command = None
    self.batch.stage = Stage.UNDOING  # a stage in which nothing else looks at a batch with a row
    stored_after_commit(self)


def stored_after_commit(self: WritePath) -> None:
    batch = self.batch
    if batch is None or batch.row is None or batch.stage is not Stage.UNDOING:
        return
    batch.holders = self._holders(batch.row)
    if len(batch.holders) >= self._state.sizes.commit_replicas:
        COMMITTED(self)


def run_held_again(self: WritePath, command: int, reply: PositionsRead) -> bool:
    return FATE_READ(self, command, PositionsRead(()))


def acknowledge_held(self: WritePath, command: int, reply: PositionsRead) -> bool:
    row = self.held.row if self.held is not None else None
    return FATE_READ(self, command, PositionsRead((row.position,)) if row is not None else reply)


FATE_READ = WritePath.fate_read


def pass_over_rows(self: Shipping, node: NodeProgress, rows: Sequence[LogRow]) -> None:
    """Apply whatever is committed of the rows that were asked for, whether or not they follow the last applied one."""
    applied = node.applied_timestamp
    first = rows[0].previous_timestamp if rows else applied
    with patch.object(node, "applied_timestamp", max(applied, first)):
        before = len(self._state._effects)
        STORE(self, node, tuple(rows))
        sent = self._state._effects[before]
    self._state._effects[before] = msgspec.structs.replace(sent, applied_timestamp=applied)


STORE = Shipping._store


def grant_anything(self: TimestampStock, first: int, last: int, step: int) -> None:
    self.requested = False
    self._ranges.append((first, last, step))


def skip_nothing(self: TimestampStock, timestamp: int) -> None: ...


def append_anything(self: LogWindow, row: LogRow) -> None:
    self._rows.append(row)
    self.end = end_after(row)


# ---------------------------------------------------------------------------------------------- reads


def no_confirmation(self: ReadPath) -> None:
    state = self._state
    level = [
        node
        for node in state.nodes.values()
        if node.state is NodeState.LEVEL and node.applied_timestamp >= state.committed_timestamp
    ]
    released, self._round = self._round or [], None
    for waiter in released:
        self._release(waiter, level)


def read_at_any_node(self: ReadPath) -> list[NodeProgress]:
    committed = self._state.committed_timestamp
    nodes = self._state.nodes.values()
    return [node for node in nodes if node.state is NodeState.LEVEL and node.applied_timestamp >= committed]


def join_the_round_under_way(self: ReadPath, read: ReadArrived) -> None:
    if self._round is None:
        ARRIVED(self, read)
    else:
        self._round.append(Waiter(read.deadline_ns, read_id=read.read_id))


ARRIVED = ReadPath.arrived


# ---------------------------------------------------------------------------------------------- nodes


def guard_without_position(self: ModelNode, epoch: int, owner: str, log_end: Position) -> Reply | None:
    return GUARD(self, epoch, owner, self.log_end.position)


def guard_without_fence(self: ModelNode, epoch: int, owner: str, log_end: Position) -> Reply | None:
    return GUARD(self, self.epoch, self.owner, log_end)


def fence_beside_the_lock(self: ModelNode, effect: Fence) -> Reply:
    """The epoch is written without the lock that an open transaction holds: its COMMIT is accepted afterwards."""
    status = self.status()
    if self.epoch > effect.epoch or (self.epoch == effect.epoch and self.owner != effect.owner):
        return Outbid(status)
    self.epoch, self.owner = effect.epoch, effect.owner
    return Fenced(status)


GUARD = ModelNode._guard


THIN_QUORUMS = (sizes(commit_replicas=1), (World, "has_copy", lambda *_: False))
"""Commits and elections that share one node, not two, in a world where a lost disk is always noticed: safe by itself (6,000
schedules), and then it matters what a node without its data may do."""

VARIANTS = (
    Variant("answer when the master has prepared", 0, ((WritePath, "prepared", answer_when_prepared),)),
    Variant("run a held batch again blindly", 0, ((WritePath, "fate_read", run_held_again),)),
    Variant(
        "timestamps that do not grow",
        1,
        (
            (TimestampStock, "grant", grant_anything),
            (TimestampStock, "skip_to", skip_nothing),
            (LogWindow, "append", append_anything),
        ),
    ),
    Variant("answer before the master commits", 3, ((WritePath, "stored", answer_before_the_master_commits),)),
    Variant("acknowledge a held batch blindly", 4, ((WritePath, "fate_read", acknowledge_held),)),
    Variant("commit on the master alone", 6, (sizes(commit_replicas=0),)),
    Variant("elect with one node", 9, (sizes(election=1),)),
    Variant("a fence beside the lock", 9, ((ModelNode, "_fence", fence_beside_the_lock),)),
    Variant("strong reads are not confirmed", 22, ((ReadPath, "_judge", no_confirmation),)),
    Variant("commit with one replica and elect with two nodes", 28, (sizes(commit_replicas=1, election=2),)),
    Variant("no check of the position", 128, ((ModelNode, "_guard", guard_without_position),)),
    Variant("elect with two nodes", 149, (sizes(election=2),)),
    Variant("rows are passed over", 200, ((Shipping, "_store", pass_over_rows),)),
    Variant(
        "an empty node votes, and quorums are thin",
        156,
        ((Election, "_largest_cluster", empty_node_votes), *THIN_QUORUMS),
    ),
    Variant(
        "the master commits first",
        554,
        (
            (WritePath, "prepared", master_commits_first),
            (WritePath, "committed", committed_first),
            (WritePath, "stored", stored_after_commit),
        ),
    ),
    Variant("apply before the no-op is committed", 867, ((Election, "_decide", apply_before_noop),)),
    Variant("strong reads at nodes that did not confirm", 1617, ((ReadPath, "_level_nodes", read_at_any_node),)),
    Variant("commit with one replica", 1887, (sizes(commit_replicas=1),)),
    Variant("no no-op", 2207, ((replication.election, "LogWindow", WindowWithoutNoop),)),
    Variant("no check of the fence", 3706, ((ModelNode, "_guard", guard_without_fence),)),
    Variant("confirmations from before a read count", 4021, ((ReadPath, "arrived", join_the_round_under_way),)),
    Variant(
        "the greatest timestamp is the most complete log",
        4243,
        ((replication.election, "most_complete", most_complete_by_timestamp),),
    ),
)

UNSEEN = (
    Variant("an old copy counts", 12_000, ((NodeProgress, "take_status", trust_an_old_copy),)),
    Variant("an empty node votes", 12_000, ((Election, "_largest_cluster", empty_node_votes),)),
    Variant("a refilled node counts at once", 12_000, ((Replicator, "_newcomer_stored", count_at_once),)),
    Variant("an empty node commits", 9_500, ((WritePath, "_holders", holders_without_membership),)),
)
"""Not seen in so many schedules. Of four nodes any two quorums of three share two, and the world harms one disk at a time: the
node that forgot is then never the only one that could have told. The rules are a second net; unit tests prove them by name."""


@contextmanager
def broken(variant: Variant) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch.object(invariants, "check", lambda *_: None))
        for target, name, wrong in variant.patches:
            stack.enter_context(patch.object(target, name, wrong))
        yield


def breach(seed: int, runner: Callable[[int], object] = run) -> str | None:
    """What schedule `seed` shows; None: nothing. A cluster that merely stands still, or a variant that crashes, shows nothing."""
    try:
        runner(seed)
    except NotServing:
        return None
    except Lost as lost:
        return str(lost)
    except AssertionError as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        if place.filename.startswith(HERE):
            return f"seed {seed}: {error or place.line}"
        raise
    return None


def first_breach(variant: Variant, first_seed: int, count: int) -> tuple[int, str] | None:
    """The first schedule from `first_seed` on that shows the breach, and what it shows."""
    with broken(variant):
        for seed in range(first_seed, first_seed + count):
            shown = breach(seed)
            if shown is not None:
                return seed, shown
    return None


def main(name: str = "", count: str = "2000", first_seed: str = "0") -> None:
    for variant in VARIANTS + UNSEEN:
        if name in variant.name:
            found = first_breach(variant, int(first_seed), int(count))
            print(f"{variant.name}: {found[0] if found else 'not seen'}: {found[1] if found else ''}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
