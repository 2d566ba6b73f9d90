"""Each rule of the protocol is needed: without it, a schedule breaks a promise, and the simulation notices.

| broken rule | schedules until it was seen | what showed it |
|---|---|---|
| a change before its intent | 1 | changed |
| a fence beside the lock | 1 | applied |
| a fence that leaves the transaction | 1 | applied |
| a held batch is said to have failed | 1 | promise |
| a replica passes over a change | 1 | changed |
| answer before the master commits | 1 | acknowledged |
| answer when the master has prepared | 1 | acknowledged |
| apply before the no-op is committed | 1 | applied |
| commit on the master alone | 1 | never lost |
| commit with one replica and elect with two nodes | 1 | never lost |
| elect with one node | 1 | never lost |
| no no-op | 1 | applied |
| serve before the tail is applied | 1 | applied |
| the master commits first | 1 | applied |
| timestamps from memory | 1 | acknowledged |
| timestamps that do not grow | 1 | acknowledged |
| strong reads are not confirmed | 2 | promise |
| a replica is read behind the master | 3 | promise |
| a score chooses the log | 3 | applied |
| an empty node votes | 3 | applied |
| run a held batch again blindly | 3 | promise |
| snapshots are compared wherever they are | 3 | snapshots |
| a fence leaves the changes of others | 7 | changed |
| elect with two nodes | 7 | never lost |
| reads do not wait for an open change | 8 | promise |
| strong reads at nodes that did not confirm | 8 | promise |
| a copy has its donor's vote | 9 | applied |
| a change is made again | 10 | changed |
| a commit is answered before it is on the disk | 10 | never lost |
| copies of an old epoch's row count | 14 | applied |
| an open change is forgotten | 16 | changed |
| an empty node votes, and quorums are thin | 17 | applied |
| a late grant is used twice | 19 | log matching |
| no check of the fence | 20 | applied |
| rows are passed over | 27 | model |
| a replica is read behind a change | 33 | promise |
| a held batch is known by its timestamp | 37 | acknowledged |
| acknowledge a held batch blindly | 37 | acknowledged |
| a fence is not on the disk | 41 | applied |
| an empty node commits | 42 | applied |
| no check of the position | 84 | model |
| a reader's connection is younger than the question | 243 | promise |
| a refilled node counts at once | 280 | never lost |
| confirmations from before a read count | 323 | promise |
| commit with one replica | 350 | never lost |
| the greatest timestamp is the most complete log | 1194 | never lost |
| a node that differs is only made no member | 1579 | rebuilt |
| an adopted change is given up | 4799 | changed |

What showed it is the rule of `world_invariants.py` by its name there, a check in the model of a node, or a promise: what a
client was told.

Any change of the coordinator moves the schedules. The pinned seed is tried first, then a search from seed 0 on; a rare one
that has moved away fails: `broken_variants.py` finds the new seed, and the unit tests prove its rule meanwhile.
"""

import pytest
from broken_variants import UNSEEN, VARIANTS, Variant, breach, broken, first_breach

RARE_SEED = 400
SEARCH_COUNT = 2_000
RARE_SEARCH_COUNT = 100


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.seed < RARE_SEED], ids=lambda each: each.name)
def test_the_simulation_notices_when_a_rule_is_broken(variant: Variant) -> None:
    pinned = range(variant.seed, variant.seed + 1)
    found = first_breach(variant, pinned) or first_breach(variant, range(SEARCH_COUNT))
    assert found is not None, f"{SEARCH_COUNT} schedules show nothing"


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each.seed >= RARE_SEED], ids=lambda each: each.name)
def test_the_simulation_has_seen_what_a_rule_is_needed_for_that_is_rarely_needed(variant: Variant) -> None:
    pinned = range(variant.seed, variant.seed + 1)
    found = first_breach(variant, pinned) or first_breach(variant, range(RARE_SEARCH_COUNT))
    if found is None:
        pytest.fail(f"the schedules moved: find a new seed with `broken_variants.py {variant.name!r} 10000` and pin it")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.name)
def test_the_same_schedule_breaks_no_promise_with_all_rules_in_place(variant: Variant) -> None:
    assert breach(variant.seed, variant.kind) is None


def test_the_patches_are_undone() -> None:
    before = [getattr(target, name) for variant in VARIANTS + UNSEEN for target, name, _ in variant.patches]
    for variant in VARIANTS + UNSEEN:
        with broken(variant):
            assert all(getattr(target, name) is not None for target, name, _ in variant.patches)
    after = [getattr(target, name) for variant in VARIANTS + UNSEEN for target, name, _ in variant.patches]
    assert [repr(each) for each in before] == [repr(each) for each in after]
