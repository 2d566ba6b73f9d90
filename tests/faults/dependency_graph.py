"""Who must have come before whom: the serialization graph of Adya ("Weak Consistency", 1999), with real time.

| edge | from → to | why |
|---|---|---|
| ww | writer of an element → writer of the next | the order of the list |
| wr | writer of the last element that a read saw → reader | it saw the write |
| rw | reader → writer of the first element that it did not see | it came too early for that write |
| rt | an operation → everything that was invoked after it had returned | strictness |

OK and INFO operations are in the graph. An append that nobody saw comes behind all elements that were seen: ww from the
last of them, rw from every reader of the whole list. That holds for an INFO as well: if it never happened, it has only
edges towards it and closes no cycle; if half of it happened, the missing half closes one. (A graph without unseen INFO
appends finds no half-applied batch.)

Real time is a relation between all pairs of operations, so its edges would be as many as pairs. They go over a chain of
*barriers* instead: each moment at which operations returned and others were invoked afterwards is a node; who returned
points to the next barrier, each barrier to the next, the latest barrier to whoever is invoked. That is one edge in and
one out for each operation, however many run at a time. An INFO sends none: it may happen long after its client gave up.
"""

from collections.abc import Sequence
from enum import IntEnum

import msgspec
from history import Append, Operation, Outcome, Read
from list_observations import KeyObservations, Observations


class Dependency(IntEnum):
    WW = 0
    WR = 1
    RW = 2
    RT = 3


class Edge(msgspec.Struct, frozen=True, gc=False):
    source: int
    target: int
    dependency: Dependency
    key: str = ""
    value: int = 0
    """The element that it is about: the one that was seen (wr), that was not (rw), that comes later (ww)."""


class Graph(msgspec.Struct):
    """Nodes are numbers: operations first, barriers behind them."""

    operations_total: int
    edges_from: list[list[Edge]]

    def is_barrier(self, node: int) -> bool:
        return node >= self.operations_total

    def add(self, source: int, target: int, dependency: Dependency, key: str = "", value: int = 0) -> None:
        if source != target:
            self.edges_from[source].append(Edge(source, target, dependency, key, value))


def build_graph(observations: Observations) -> Graph:
    operations = observations.operations
    graph = Graph(len(operations), [[] for _ in operations])
    for key in observations.keys.values():
        if key.order_is_trusted:
            _add_list_edges(graph, key, operations)
    _add_real_time_edges(graph, operations)
    return graph


def _add_list_edges(graph: Graph, key: KeyObservations, operations: Sequence[Operation]) -> None:
    writers = {
        value: writer for value, writer in key.writer_by_value.items() if operations[writer].outcome is not Outcome.FAIL
    }
    order = key.order
    known = [value in writers for value in order]
    # for each version, by its length: the last known element in it, and the first one that it lacks
    last_seen: list[int | None] = [None]
    for value, is_known in zip(order, known, strict=True):
        last_seen.append(value if is_known else last_seen[-1])
    first_missing: list[int | None] = [None] * (len(order) + 1)
    for i in range(len(order) - 1, -1, -1):
        first_missing[i] = order[i] if known[i] else first_missing[i + 1]
    unseen = sorted(writers.keys() - set(order))

    for i, value in enumerate(order):
        before = last_seen[i]
        if known[i] and before is not None:
            graph.add(writers[before], writers[value], Dependency.WW, key.key, value)
    end = last_seen[-1]
    if end is not None:
        for value in unseen:
            graph.add(writers[end], writers[value], Dependency.WW, key.key, value)
    for reader, version in key.external_reads:
        seen, missing = last_seen[len(version)], first_missing[len(version)]
        if seen is not None:
            graph.add(writers[seen], reader, Dependency.WR, key.key, seen)
        for value in unseen if missing is None else (missing,):
            graph.add(reader, writers[value], Dependency.RW, key.key, value)


def _add_real_time_edges(graph: Graph, operations: Sequence[Operation]) -> None:
    returned_since: list[int] = []
    barrier: int | None = None
    for node, is_return in _events(operations):
        if is_return:
            returned_since.append(node)
            continue
        if returned_since:
            previous, barrier = barrier, len(graph.edges_from)
            graph.edges_from.append([])
            if previous is not None:
                graph.add(previous, barrier, Dependency.RT)
            for returned in returned_since:
                graph.add(returned, barrier, Dependency.RT)
            returned_since.clear()
        if barrier is not None:
            graph.add(barrier, node, Dependency.RT)


def _events(operations: Sequence[Operation]) -> list[tuple[int, bool]]:
    """(operation, whether it returned) in the order of time. What happened in the same nanosecond overlapped."""
    events: list[tuple[int, bool, int]] = []
    for node, operation in enumerate(operations):
        if operation.outcome is Outcome.FAIL or not _is_about_lists(operation):
            continue
        events.append((operation.invoked_ns, False, node))
        if operation.outcome is Outcome.OK and operation.returned_ns is not None:
            events.append((operation.returned_ns, True, node))
    return [(node, is_return) for _, is_return, node in sorted(events)]


def _is_about_lists(operation: Operation) -> bool:
    return any(isinstance(micro, Append | Read) for micro in operation.micro_operations)
