"""The protocol with one rule broken at a time: a simulation that cannot notice these proves nothing.

Each variant patches the one place where its rule stands, in the replicator or in the model of a node. The coordinator's own
invariants are switched off meanwhile: what is true of the world must show the breach, or what clients were told (design
sections 1 and 10).

    PYTHONPATH=coordinator:timestamp-service python tests/simulation/broken_variants.py [NAME] [COUNT] [FIRST SEED]

prints how many schedules each one takes; run it again and pin what it finds whenever a change moves the schedules.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from unittest.mock import patch

import broken_rules as rules
import msgspec
from broken_rules import Patch
from client_history import PromiseBroken
from disk_harm import DiskHarm
from model_node import ModelNode
from model_timestamps import ModelTimestampServer
from node_sessions import Line
from schedules import NotServing, run, side_by_side
from world import World
from world_invariants import InvariantBroken

import replication.election
from replication import invariants
from replication.election import Election
from replication.log import LogWindow
from replication.progress import NodeProgress
from replication.reads import ReadPath
from replication.replicator import Replicator
from replication.schema_changes import SchemaChanges
from replication.shipping import Shipping
from replication.timestamps import TimestampStock
from replication.verification import Verification
from replication.weak_reads import WeakReads
from replication.write_path import WritePath

HERE = str(Path(__file__).resolve().parent)


class Variant(msgspec.Struct, frozen=True):
    """One broken rule: the first schedule that shows why it is needed, where it is patched, and under which coordinators."""

    name: str
    seed: int
    patches: tuple[Patch, ...]
    kind: str = "plain"


THIN_QUORUMS = (
    rules.sizes(commit_replicas=1),
    (DiskHarm, "has_copy", lambda *_: False),
    (DiskHarm, "HARMED_MAX", 1),
)
"""Commits and elections that share one node, not two, in a world where only one disk is lost, and that is always noticed: safe by
itself, and then it matters what a node without its data may do."""

ANY_NUMBERS: tuple[Patch, ...] = (
    (TimestampStock, "grant", rules.grant_anything),
    (TimestampStock, "skip_to", rules.skip_nothing),
    (LogWindow, "append", rules.append_anything),
)
"""The log's own refusal of numbers that do not grow is switched off."""

VARIANTS = (
    # quorums
    Variant("commit on the master alone", 0, (rules.sizes(commit_replicas=0),)),
    Variant("commit with one replica", 27, (rules.sizes(commit_replicas=1),)),
    Variant("elect with one node", 0, (rules.sizes(election=1),)),
    Variant("elect with two nodes", 1, (rules.sizes(election=2),)),
    Variant("commit with one replica and elect with two nodes", 0, (rules.sizes(commit_replicas=1, election=2),)),
    Variant("an empty node votes", 0, ((Election, "_largest_cluster", rules.empty_node_votes),)),
    Variant(
        "an empty node votes, and quorums are thin",
        53,
        ((Election, "_largest_cluster", rules.empty_node_votes), *THIN_QUORUMS),
    ),
    Variant("an empty node commits", 0, ((WritePath, "_holders", rules.holders_without_membership),)),
    Variant("a refilled node counts at once", 1321, ((Replicator, "_newcomer_stored", rules.count_at_once),)),
    # full copies
    Variant(
        "a copy has its donor's vote",
        21,
        ((NodeProgress, "take_status", rules.copy_votes_for_its_donor),),
        "truncating",
    ),
    # rows that differ
    Variant("a node that differs is only made no member", 361, ((ModelNode, "_whose", rules.whose_it_was),)),
    Variant(
        "snapshots are compared wherever they are",
        7,
        (
            (Verification, "_advance_replica", rules.open_wherever_it_is),
            (Verification, "_fits", lambda *_: True),
            (ModelNode, "_open_snapshot", rules.keep_any_snapshot),
        ),
    ),
    # election
    Variant("a score chooses the log", 15, ((Election, "_decide", rules.authoritative_by_score),), "advised"),
    Variant(
        "the greatest timestamp is the most complete log",
        967,
        ((replication.election, "most_complete", rules.most_complete_by_timestamp),),
    ),
    Variant("no no-op", 1, ((replication.election, "LogWindow", rules.WindowWithoutNoop),)),
    Variant("apply before the no-op is committed", 0, ((Election, "_decide", rules.apply_before_noop),)),
    Variant(
        "copies of an old epoch's row count", 7, ((Election, "stored", rules.copies_of_an_old_epoch_count),), "tight"
    ),
    Variant("serve before the tail is applied", 2, ((Election, "stored", rules.serve_before_applying),)),
    Variant("a fence beside the lock", 0, ((ModelNode, "_fence", rules.fence_beside_the_lock),)),
    Variant(
        "a fence that leaves the transaction", 0, ((ModelNode, "_fence", rules.fence_that_leaves_the_transaction),)
    ),
    # writes
    Variant("answer when the master has prepared", 0, ((WritePath, "prepared", rules.answer_when_prepared),)),
    Variant("answer before the master commits", 0, ((WritePath, "stored", rules.answer_before_the_master_commits),)),
    Variant("answer what the master has executed", 0, ((WritePath, "executed", rules.answer_what_was_executed),)),
    Variant(
        "the master commits first",
        1,
        (
            (WritePath, "prepared", rules.master_commits_first),
            (WritePath, "committed", rules.committed_first),
            (WritePath, "stored", rules.stored_after_commit),
        ),
    ),
    Variant("run a held batch again blindly", 0, ((WritePath, "fate_read", rules.run_held_again),)),
    Variant("acknowledge a held batch blindly", 7, ((WritePath, "fate_read", rules.acknowledge_held),)),
    Variant("a held batch is known by its timestamp", 226, ((WritePath, "fate_read", rules.fate_by_timestamp),)),
    Variant("a held batch is said to have failed", 0, ((WritePath, "hold", rules.hold_answers_failed),)),
    Variant("rows are passed over", 122, ((Shipping, "_store", rules.pass_over_rows),)),
    # schema changes
    Variant("a change before its intent", 27, ((SchemaChanges, "next_batch", rules.change_before_the_intent),)),
    Variant("a change is made again", 9, ((ModelNode, "was_made", lambda *_: False),)),
    Variant("an open change is forgotten", 2, ((SchemaChanges, "adopt", rules.forget_the_open_change),)),
    Variant("a replica passes over a change", 1, ((Shipping, "_appliable", staticmethod(rules.pass_over_a_change)),)),
    Variant("a fence leaves the changes of others", 4, ((Line, "_end_other_changes", lambda _: None),)),
    Variant(
        "reads do not wait for an open change", 45, ((SchemaChanges, "epoch_began", rules.read_before_the_change),)
    ),
    Variant("a replica is read behind a change", 74, ((ReadPath, "_level_nodes", rules.read_behind_a_change),)),
    # timestamps
    Variant("timestamps that do not grow", 0, ANY_NUMBERS),
    Variant("timestamps from memory", 0, ((ModelTimestampServer, "restart", rules.restart_from_memory), *ANY_NUMBERS)),
    Variant(
        "a late grant is used twice",
        16,
        ((TimestampStock, "grant", rules.twice_granted), (LogWindow, "append", rules.append_anything)),
    ),
    # reads
    Variant("strong reads are not confirmed", 7, ((ReadPath, "_judge", rules.no_confirmation),)),
    Variant("strong reads at nodes that did not confirm", 16, ((ReadPath, "_level_nodes", rules.read_at_any_node),)),
    Variant(
        "confirmations from before a read count",
        1,
        ((ReadPath, "arrived", rules.join_the_round_under_way),),
        "advised",
    ),
    Variant("a replica is read behind the master", 2, ((ReadPath, "_level_nodes", rules.read_behind_the_master),)),
    Variant("a reader's connection is younger than the question", 236, ((World, "may_read_over", lambda *_: True),)),
    Variant("a round tells of its end", 2038, ((ReadPath, "_judge", rules.moment_of_the_end),), "advised"),
    Variant("a bounded read is as old as it comes", 1, ((WeakReads, "_is_good", rules.any_is_good),)),
    Variant("the write that a read names is not looked for", 0, ((WeakReads, "_is_good", rules.good_by_age),)),
    # requests of several statements
    Variant("what a refused request did is not undone", 0, ((ModelNode, "_run", rules.run_half),)),
    Variant("a read among writes does not see them", 0, ((ModelNode, "_run", rules.run_behind_the_batch),)),
    Variant("a part of a request is not in the log", 0, ((WritePath, "executed", rules.first_entry_only),)),
    # nodes
    Variant("no check of the position", 23, ((ModelNode, "_guard", rules.guard_without_position),)),
    Variant("no check of the fence", 15, ((ModelNode, "_guard", rules.guard_without_fence),)),
    Variant(
        "a commit is answered before it is on the disk", 28, ((ModelNode, "crash", rules.crash_with_unsynced_log),)
    ),
    Variant("a fence is not on the disk", 30, ((ModelNode, "crash", rules.crash_with_unsynced_fence),)),
)

UNSEEN = (
    Variant("an adopted change is given up", 4_166, ((SchemaChanges, "executed", rules.give_an_adopted_change_up),)),
    Variant("an old copy counts", 4_000, ((NodeProgress, "take_status", rules.trust_an_old_copy),)),
    Variant(
        "a fence leaves the copiers of others", 2_000, ((Line, "_end_other_copiers", lambda _: None),), "truncating"
    ),
)
"""Not seen in so many schedules. One node with an old copy is outvoted: any two quorums of three share two nodes. A second disk
may be harmed only once the first is no member any more, which this variant never writes on it. A level node that a late copier
wipes is bare, and votes for nothing. A change must meet a full disk at the one master that has not made it, behind one that has.
Tests of the rules alone prove them (test_election.py, test_mysql_node.py, test_schema_change_crashes.py)."""


@contextmanager
def broken(variant: Variant) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch.object(invariants, "check", lambda *_: None))
        for target, name, wrong in variant.patches:
            stack.enter_context(patch.object(target, name, wrong))
        yield


def breach(seed: int, kind: str = "plain") -> str | None:
    """What schedule `seed` shows; None: nothing. A cluster that merely stands still, or a variant that crashes, shows nothing."""
    try:
        run(seed, kind)
    except NotServing:
        return None
    except PromiseBroken as broken_promise:
        return f"promise: {broken_promise}"
    except InvariantBroken as broken_invariant:
        return str(broken_invariant)
    except Exception as error:  # noqa: BLE001 (in production the process would end: not what is looked for)
        place = traceback.extract_tb(error.__traceback__)[-1]
        if isinstance(error, AssertionError) and place.filename.startswith(HERE):
            return f"model: {error or place.line}"
    return None


def first_breach(variant: Variant, seeds: range) -> tuple[int, str] | None:
    """The first schedule that shows the breach, and what it shows."""
    with broken(variant):
        for seed in seeds:
            shown = breach(seed, variant.kind)
            if shown is not None:
                return seed, shown
    return None


def search(name: str, seeds: range) -> list[str]:
    """`first_breach` for another process."""
    (variant,) = (each for each in VARIANTS + UNSEEN if each.name == name)
    found = first_breach(variant, seeds)
    return [] if found is None else [f"{found[0]}: {found[1]}"]


def main(name: str = "", count: str = "2000", first_seed: str = "0") -> None:
    seeds = range(int(first_seed), int(first_seed) + int(count))
    chunks = [seeds[first : first + 100] for first in range(0, len(seeds), 100)]
    for variant in VARIANTS + UNSEEN:
        if name in variant.name:
            found = next((each for each in side_by_side(search, repeat(variant.name), chunks) if each), ["not seen"])
            print(f"{variant.name}: {found[0]}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
