"""Cycles through given edges of a strongly connected part of the serialization graph.

All searches are linear but `cycles_with_one_rw`: from each rw edge it looks for a way back without rw, and there may be
as many rw edges as operations. Two things keep that cheap. A way without rw leads only from a component of the graph
without rw to one that Tarjan finished earlier, so all others are passed over; most ways back are refused at their first
step. And it has a bound.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

from components import strongly_connected
from dependency_graph import Dependency, Edge, Graph

STARTS_MAX = 32
"""From so many edges of a component is a shorter cycle sought: each costs a walk through all of it."""

Edges = dict[int, list[Edge]]
Cycle = list[Edge]


class SearchCutShort(Exception):
    """The bound was reached: what was not found may still be there."""


class Bound:
    """Edges that searches may still follow."""

    def __init__(self, steps_max: int) -> None:
        self.steps_max = steps_max
        self._steps_left = steps_max

    def spend(self, steps: int) -> None:
        self._steps_left -= steps
        if self._steps_left < 0:
            raise SearchCutShort


def edges_within(edges: Edges, nodes: list[int], kinds: frozenset[Dependency]) -> Edges:
    """The part of a graph with these nodes and kinds of edges."""
    inside = set(nodes)
    return {
        node: [edge for edge in edges[node] if edge.dependency in kinds and edge.target in inside] for node in nodes
    }


def cyclic_components(edges: Edges) -> list[list[int]]:
    return [component for component in strongly_connected(successors(edges)) if len(component) > 1]


def successors(edges: Edges) -> dict[int, list[int]]:
    return {node: [edge.target for edge in leaving] for node, leaving in edges.items()}


def edges_of_kind(edges: Edges, kind: Dependency) -> Iterator[Edge]:
    return (edge for leaving in edges.values() for edge in leaving if edge.dependency is kind)


class CycleSearch:
    """In one component: every edge of `edges` lies on a cycle."""

    def __init__(self, graph: Graph, edges: Edges) -> None:
        self._is_barrier = graph.is_barrier
        self._edges = edges

    def cycles_through(self, kind: Dependency) -> Iterator[Cycle]:
        """A shortest cycle through each of some edges of the kind."""
        starts = (edge for edge in edges_of_kind(self._edges, kind) if not self._is_barrier(edge.source))
        for edge in islice(starts, STARTS_MAX):
            way = self._shortest_way(self._edges, edge.target, edge.source)
            if way is not None:
                yield [edge, *way]

    def cycles_with_one_rw(self, bound: Bound) -> Iterator[Cycle]:
        """Raises SearchCutShort."""
        without_rw = {
            node: [edge for edge in leaving if edge.dependency is not Dependency.RW]
            for node, leaving in self._edges.items()
        }
        rank = {
            node: place
            for place, component in enumerate(strongly_connected(successors(without_rw)))
            for node in component
        }
        for edge in edges_of_kind(self._edges, Dependency.RW):
            if rank[edge.target] >= rank[edge.source]:
                way = self._shortest_way(without_rw, edge.target, edge.source, rank, bound)
                if way is not None:
                    yield [edge, *way]

    def cycles_without_adjacent_rw(self) -> Iterator[Cycle]:
        """A node is split in two, arrived at by rw or not; only the second may be left by rw. Components of that are cycles."""
        split: Edges = {}
        for node, leaving in self._edges.items():
            onward = [edge for edge in leaving if edge.dependency is not Dependency.RW]
            split[2 * node] = [_between_halves(edge, 0) for edge in leaving]
            split[2 * node + 1] = [_between_halves(edge, 1) for edge in onward]
        for component in cyclic_components(split):
            inside = edges_within(split, component, frozenset(Dependency))
            for edge in islice(edges_of_kind(inside, Dependency.RW), STARTS_MAX):
                way = self._shortest_way(inside, edge.target, edge.source, barrier_shift=1)
                if way is not None:
                    yield simple_part([_between_nodes(half) for half in (edge, *way)])

    def _shortest_way(
        self,
        edges: Edges,
        start: int,
        goal: int,
        rank: dict[int, int] | None = None,
        bound: Bound | None = None,
        barrier_shift: int = 0,
    ) -> list[Edge] | None:
        """Breadth first. Edges to barriers cost nothing, so a chain of them is as long as one edge."""
        if start == goal:
            return []
        came_by: dict[int, Edge] = {}
        cost = {start: 0}
        queue = deque([start])
        done: set[int] = set()
        rank_min = -1 if rank is None else rank[goal]
        while queue:
            node = queue.popleft()
            if node == goal:
                return _way_back(came_by, start, goal)
            if node in done:
                continue
            done.add(node)
            if bound is not None:
                bound.spend(len(edges[node]))
            for edge in edges[node]:
                target = edge.target
                if rank is not None and rank[target] < rank_min:
                    continue
                is_free = self._is_barrier(target >> barrier_shift)
                target_cost = cost[node] + (not is_free)
                if target_cost < cost.get(target, target_cost + 1):
                    cost[target] = target_cost
                    came_by[target] = edge
                    (queue.appendleft if is_free else queue.append)(target)
        return None


def _way_back(came_by: dict[int, Edge], start: int, goal: int) -> list[Edge]:
    way = [came_by[goal]]
    while way[-1].source != start:
        way.append(came_by[way[-1].source])
    return way[::-1]


def _between_halves(edge: Edge, half: int) -> Edge:
    """The halves of node n: 2n, not arrived at by rw; 2n + 1, arrived at by rw."""
    target = 2 * edge.target + (edge.dependency is Dependency.RW)
    return Edge(2 * edge.source + half, target, edge.dependency, edge.key, edge.value)


def _between_nodes(edge: Edge) -> Edge:
    return Edge(edge.source // 2, edge.target // 2, edge.dependency, edge.key, edge.value)


def simple_part(walk: Cycle) -> Cycle:
    """A closed walk without adjacent rw may meet itself in a node. Parted there, at least one part has no adjacent rw either:
    if both had, all four edges at the node would be rw, and the walk would have had two in a row."""
    place: dict[int, int] = {}
    for i, edge in enumerate(walk):
        if edge.source in place:
            first = place[edge.source]
            inner, outer = walk[first:i], walk[:first] + walk[i:]
            return simple_part(outer if has_adjacent_rw(inner) else inner)
        place[edge.source] = i
    return walk


def has_adjacent_rw(cycle: Cycle) -> bool:
    return any(
        edge.dependency is Dependency.RW and following.dependency is Dependency.RW
        for edge, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    )
