"""Strongly connected components of a directed graph (Tarjan 1972), without recursion: ten thousand barriers in a chain
are usual.
"""

from collections.abc import Iterator, Mapping, Sequence


def strongly_connected(successors: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """All components, each behind every component that it leads to. Every successor must be a key."""
    components: list[list[int]] = []
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    unassigned: list[int] = []
    assigned: set[int] = set()
    for root in successors:
        if root in index:
            continue
        path: list[tuple[int, Iterator[int]]] = []
        entered: int | None = root
        while entered is not None or path:
            if entered is not None:
                index[entered] = low[entered] = len(index)
                unassigned.append(entered)
                path.append((entered, iter(successors[entered])))
            node, children = path[-1]
            entered = None
            for child in children:
                if child not in index:
                    entered = child
                    break
                if child not in assigned and index[child] < low[node]:
                    low[node] = index[child]
            else:
                path.pop()
                if path and low[node] < low[path[-1][0]]:
                    low[path[-1][0]] = low[node]
                if low[node] == index[node]:
                    components.append(_pop_down_to(node, unassigned))
                    assigned.update(components[-1])
    return components


def _pop_down_to(node: int, stack: list[int]) -> list[int]:
    component = [stack.pop()]
    while component[-1] != node:
        component.append(stack.pop())
    return component
