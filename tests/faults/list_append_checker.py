"""Is a history of appends to lists and reads of them strictly serializable? It trusts nothing the cluster says of itself.

Deciding that for reads and writes of plain registers is NP-complete (Papadimitriou 1979). Lists that are only appended
to make it cheap, because a read names all writes before it and their order (Kingsbury and Alvaro, "Elle: Inferring
Isolation Anomalies from Experimental Observations", 2020). The work is in three steps:

0. checks that need no order between transactions, here: elements that nobody wrote, that failed, that are there twice,
   that are gone;
1. the order of each list's versions (list_observations.py);
2. who must have come before whom (dependency_graph.py), and a cycle in that (dependency_cycles.py): the definition of
   an anomaly by Adya, "Weak Consistency", 1999. Real time is one more reason to come before, so a stale read is a cycle
   too.

No anomaly: the history is strictly serializable as far as it can be told from it. A search that was cut short is an
anomaly of its own, and so is a list whose acknowledged appends nobody looked for at the end.
"""

from collections import defaultdict
from collections.abc import Iterator

from anomaly import Anomaly, Narrator
from dependency_cycles import SEARCH_STEPS_MAX, find_cycles
from dependency_graph import build_graph
from history import History, Outcome
from list_observations import KeyObservations, Observations, Values, observe


def check(history: History, search_steps_max: int = SEARCH_STEPS_MAX) -> list[Anomaly]:
    """Every anomaly found. Raises GeneratorBug if the workload broke a rule of its own."""
    operations = history.operations_and_last_reads()
    narrator = Narrator(operations)
    observations = observe(operations)
    anomalies = list(_internal(observations, narrator))
    for key in observations.keys.values():
        for rule in KEY_RULES:
            anomalies += rule(key, observations, narrator)
    anomalies += _partial_apply(observations, narrator)
    anomalies += _no_final_read(observations)
    return anomalies + find_cycles(build_graph(observations), narrator, search_steps_max)


def _outcome(observations: Observations, key: KeyObservations, value: int) -> Outcome | None:
    """The outcome of the operation that appended `value`; None if nobody did."""
    writer = key.writer_by_value.get(value)
    return None if writer is None else observations.operations[writer].outcome


def _internal(observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    for each in observations.internal_contradictions:
        yield Anomaly(
            "internal",
            f"{narrator.full(each.reader)} read {each.key} as {list(each.values)}, although by what it had read and"
            f" appended itself before it must be {each.expected}",
        )


# ------------------------------------------------------------------------------------------ what a list may not hold


def _garbage_read(key: KeyObservations, _: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    for value in sorted(key.seen() - key.writer_by_value.keys()):
        yield Anomaly("garbage-read", f"{_seen_by(key, value, narrator)} {value} in {key.key}, which nobody appended")


def _duplicate_write(key: KeyObservations, _: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    reported: set[int] = set()
    for values in (key.longest, key.final or (), *(values for _, values in key.incompatible_reads)):
        if len(set(values)) == len(values):
            continue
        for value in sorted({value for value in values if values.count(value) > 1} - reported):
            reported.add(value)
            writer = key.writer_by_value.get(value)
            by = "" if writer is None else f", which {narrator.full(writer)} appended once"
            yield Anomaly("duplicate-write", f"{key.key} holds {value} {values.count(value)} times{by}: {list(values)}")


def _g1a(key: KeyObservations, observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    for value in sorted(key.seen()):
        if _outcome(observations, key, value) is Outcome.FAIL and key.first_reader(value) is not None:
            writer = narrator.full(key.writer_by_value[value])
            yield Anomaly("G1a", f"{_seen_by(key, value, narrator)} {value} in {key.key}, although {writer} failed")


def _fail_but_applied(key: KeyObservations, observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    for value in key.final or ():
        if _outcome(observations, key, value) is Outcome.FAIL:
            yield Anomaly(
                "fail-but-applied",
                f"{narrator.full(key.writer_by_value[value])} was told that its append of {value} to {key.key} never"
                " happens, but it is there at the end",
            )


def _g1b(key: KeyObservations, observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    for reader, version in key.external_reads:
        writer = key.writer_by_value.get(version[-1]) if version else None
        if writer is None:
            continue
        appended = [micro.value for micro in observations.operations[writer].appends if micro.key == key.key]
        if version[-1] != appended[-1]:
            yield Anomaly(
                "G1b",
                f"{narrator.full(reader)} saw {key.key} end with {version[-1]}, in the middle of what"
                f" {narrator.full(writer)} appended: {appended}",
            )


def _dirty_update(key: KeyObservations, observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    failed: int | None = None
    for value in key.order:
        outcome = _outcome(observations, key, value)
        if outcome is Outcome.FAIL:
            failed = value
        elif outcome is Outcome.OK and failed is not None:
            yield Anomaly(
                "dirty-update",
                f"{narrator.full(key.writer_by_value[value])} appended {value} to {key.key} behind {failed}, although"
                f" {narrator.full(key.writer_by_value[failed])} failed",
            )
            failed = None


# ------------------------------------------------------------------------------------------ what a list must hold


def _incompatible_order(key: KeyObservations, _: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    if key.incompatible_reads:
        reader, values = key.incompatible_reads[0]
        longest_reader = next(reader for reader, values in key.reads if values == key.longest)
        yield Anomaly(
            "incompatible-order",
            f"{narrator.full(reader)} read {key.key} as {list(values)}, which is no beginning of {list(key.longest)}, as"
            f" {narrator.full(longest_reader)} read it ({len(key.incompatible_reads)} reads are not)",
        )


def _lost_update(key: KeyObservations, observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    updaters_by_version: dict[Values, list[int]] = defaultdict(list)
    ok_writers = {writer for writer in key.writer_by_value.values() if _is_ok(observations, writer)}
    for reader, version in key.external_reads:
        if reader in ok_writers:
            updaters_by_version[version].append(reader)
    for version, updaters in updaters_by_version.items():
        if len(updaters) > 1:
            names = " and ".join(narrator.full(updater) for updater in updaters)
            yield Anomaly("lost-update", f"{names} all read {key.key} as {list(version)} and appended to it")


def _lost_write(key: KeyObservations, observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    if key.final is None:
        return
    final = set(key.final)
    for value, writer in key.writer_by_value.items():
        if value not in final and _is_ok(observations, writer):
            yield Anomaly(
                "lost-write",
                f"{narrator.full(writer)} was told that its append of {value} to {key.key} is committed, but it is not"
                " there at the end",
            )


def _observed_then_lost(key: KeyObservations, _: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    if key.final is not None and key.longest != key.final[: len(key.longest)]:
        reader = next(reader for reader, values in key.reads if values == key.longest)
        yield Anomaly(
            "observed-then-lost",
            f"{narrator.full(reader)} read {key.key} as {list(key.longest)}, but at the end it is {list(key.final)}",
        )


def _partial_apply(observations: Observations, narrator: Narrator) -> Iterator[Anomaly]:
    """An INFO of which anything was seen is committed, so all of it must be there at the end."""
    seen = {key.key: key.seen() for key in observations.keys.values()}
    final = {key.key: set(key.final) for key in observations.keys.values() if key.final is not None}
    for number, operation in enumerate(observations.operations):
        if operation.outcome is not Outcome.INFO:
            continue
        visible = [micro for micro in operation.appends if micro.value in seen[micro.key]]
        missing = [m for m in operation.appends if m.key in final and m.value not in final[m.key]]
        if visible and missing:
            yield Anomaly(
                "partial-apply",
                f"of {narrator.full(number)} the append of {visible[0].value} to {visible[0].key} was seen, but that of"
                f" {missing[0].value} to {missing[0].key} is not there at the end",
            )


def _no_final_read(observations: Observations) -> Iterator[Anomaly]:
    unread = [
        key.key
        for key in observations.keys.values()
        if key.final is None and any(_is_ok(observations, writer) for writer in key.writer_by_value.values())
    ]
    if unread:
        yield Anomaly(
            "no-final-read",
            f"{len(unread)} lists with acknowledged appends were not read at the end ({', '.join(sorted(unread)[:5])}):"
            " whether a write was lost cannot be told",
        )


def _is_ok(observations: Observations, number: int) -> bool:
    return observations.operations[number].outcome is Outcome.OK


def _seen_by(key: KeyObservations, value: int, narrator: Narrator) -> str:
    reader = key.first_reader(value)
    return "the last read saw" if reader is None else f"{narrator.full(reader)} saw"


KEY_RULES = (
    _garbage_read,
    _duplicate_write,
    _g1a,
    _fail_but_applied,
    _g1b,
    _dirty_update,
    _incompatible_order,
    _lost_update,
    _lost_write,
    _observed_then_lost,
)
