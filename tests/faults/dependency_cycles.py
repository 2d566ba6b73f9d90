"""Names for the cycles of the serialization graph: what came before itself cannot have happened in any order.

A cycle is named by its edges (Adya 1999; Cerone and Gotsman 2018 for the one that snapshot isolation forbids):

| name | edges |
|---|---|
| G0 | ww only: the writes of two transactions are interwoven |
| G1c | ww and wr: each saw, or came behind, the other's write |
| G-single | exactly one rw: a read that missed a write (read skew, a lost update) |
| G-nonadjacent | several rw, no two in a row |
| G2-item | several rw: write skew |
| …-realtime | the same with rt: a stale read, or a write that came too late; no cycle without real time |

A graph without a cycle, the usual case, costs one search for strongly connected components. Otherwise each set of edges
is searched, the weakest first, and each component of it is told by one short cycle of the weakest name in it that is
not told yet.

A search that was cut short is told as `search-cut-short`, and its component by a cycle that need not be the weakest: a
bound never turns an anomaly into a pass.
"""

from collections.abc import Iterable
from itertools import islice

from anomaly import Anomaly, Narrator
from cycle_search import (
    Bound,
    Cycle,
    CycleSearch,
    SearchCutShort,
    cyclic_components,
    edges_within,
    has_adjacent_rw,
)
from dependency_graph import Dependency, Edge, Graph

SEARCH_STEPS_MAX = 3_000_000
"""Edges that all searches for exactly one rw may follow: some seconds."""
CYCLES_MAX = 32
"""Of so many cycles of a component the shortest is told."""

WW, WR, RW, RT = Dependency.WW, Dependency.WR, Dependency.RW, Dependency.RT
DATA_EDGE_SETS = (frozenset({WW}), frozenset({WW, WR}), frozenset({WW, WR, RW}))
EDGE_SETS = (*DATA_EDGE_SETS, *(kinds | {RT} for kinds in DATA_EDGE_SETS))


def find_cycles(graph: Graph, narrator: Narrator, steps_max: int = SEARCH_STEPS_MAX) -> list[Anomaly]:
    bound = Bound(steps_max)
    anomalies: list[Anomaly] = []
    told: list[tuple[str, Cycle]] = []
    was_cut_short = False
    edges = dict(enumerate(graph.edges_from))
    suspects = [node for component in cyclic_components(edges) for node in component]
    for kinds in EDGE_SETS if suspects else ():
        allowed = edges_within(edges, suspects, kinds)
        for component in cyclic_components(allowed):
            within = edges_within(allowed, component, kinds)
            told_here = {name for name, cycle in told if cycle[0].source in within}
            news = _News(graph, kinds, told_here)
            search = CycleSearch(graph, within)
            try:
                cycle = _weakest_cycle(search, news, bound)
            except SearchCutShort:
                if not was_cut_short:
                    anomalies.append(_cut_short(graph, component, steps_max))
                was_cut_short = True
                cycle = None if told_here else news.shortest(search.cycles_through(RW))
            if cycle is not None:
                told.append((name_of(cycle), cycle))
                anomalies.append(Anomaly(name_of(cycle), _sentence(_without_barriers(graph, cycle), narrator)))
    return anomalies


class _News:
    """Which cycles of a component say something new: no name is told twice."""

    def __init__(self, graph: Graph, kinds: frozenset[Dependency], told: set[str]) -> None:
        self._graph = graph
        self.kinds = kinds
        self.told = told

    def shortest(self, cycles: Iterable[Cycle]) -> Cycle | None:
        return min(islice(filter(self._is_new, cycles), CYCLES_MAX), key=self._length, default=None)

    def _is_new(self, cycle: Cycle) -> bool:
        return name_of(cycle) not in self.told

    def _length(self, cycle: Cycle) -> int:
        return sum(not self._graph.is_barrier(edge.target) for edge in cycle)


def _weakest_cycle(search: CycleSearch, news: _News, bound: Bound) -> Cycle | None:
    """Raises SearchCutShort."""
    if RW not in news.kinds:
        # through an edge of the kind that this set has and the weaker ones have not
        return news.shortest(search.cycles_through(RT if RT in news.kinds else WR if WR in news.kinds else WW))
    cycle = news.shortest(search.cycles_with_one_rw(bound))
    if cycle is None and not news.told:
        cycle = news.shortest(search.cycles_without_adjacent_rw())
    if cycle is None and not news.told:
        cycle = news.shortest(search.cycles_through(RW))
    return cycle


def name_of(cycle: Cycle) -> str:
    kinds = [edge.dependency for edge in cycle]
    suffix = "-realtime" if RT in kinds else ""
    match kinds.count(RW):
        case 0:
            name = "G1c" if WR in kinds else "G0"
        case 1:
            name = "G-single"
        case _:
            name = "G2-item" if has_adjacent_rw(cycle) else "G-nonadjacent"
    return name + suffix


# ------------------------------------------------------------------------------------------ sentences


def _without_barriers(graph: Graph, cycle: Cycle) -> Cycle:
    """Each way over barriers becomes one rt edge between two operations."""
    begin = next(i for i, edge in enumerate(cycle) if not graph.is_barrier(edge.source))
    whole: Cycle = []
    for edge in cycle[begin:] + cycle[:begin]:
        if graph.is_barrier(edge.source):
            whole[-1] = Edge(whole[-1].source, edge.target, RT)
        else:
            whole.append(edge)
    return whole


def _sentence(cycle: Cycle, narrator: Narrator) -> str:
    """The strangest edge first: what was not seen, or else what was."""
    begin = min(range(len(cycle)), key=lambda i: (RW, WR, WW, RT).index(cycle[i].dependency))
    first, *others = cycle[begin:] + cycle[:begin]
    who = "; ".join(narrator.full(edge.source) for edge in (first, *others))
    return f"{_clause(first, narrator)}, although {' and '.join(_clause(each, narrator) for each in others)}. {who}"


def _clause(edge: Edge, narrator: Narrator) -> str:
    source, target = narrator.short(edge.source), narrator.short(edge.target)
    match edge.dependency:
        case Dependency.WW:
            return f"{target}'s append of {edge.value} to {edge.key} is behind {source}'s"
        case Dependency.WR:
            return f"{target} saw {source}'s append of {edge.value} to {edge.key}"
        case Dependency.RW:
            return f"{source} did not see {target}'s append of {edge.value} to {edge.key}"
        case Dependency.RT:
            return f"{source} had returned before {target} was invoked"


def _cut_short(graph: Graph, component: list[int], steps_max: int) -> Anomaly:
    operations = sum(not graph.is_barrier(node) for node in component)
    return Anomaly(
        "search-cut-short",
        f"{operations} operations come before each other in a circle; the search for a cycle with exactly one read that"
        f" missed a write ended after {steps_max} steps, so the weakest name of the anomaly is not known",
    )
