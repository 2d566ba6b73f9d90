"""What the nodes' answers to one question mean: who agrees with whom, who is wrong, and which keys differ. Pure.

Nobody is believed by rank, the master neither: those are right that are a commit quorum, and where no so many agree, nobody is
called wrong (replication/divergence.py acts by the same rule).
"""

from collections.abc import Hashable, Mapping, Sequence

from adapters.checksum_sql import Key


def groups_of(answers: Mapping[str, Hashable]) -> list[list[str]]:
    """The nodes that gave the same answer together; the largest group first, ties by name."""
    found: dict[Hashable, list[str]] = {}
    for name in sorted(answers):
        found.setdefault(answers[name], []).append(name)
    return sorted(found.values(), key=lambda names: (-len(names), names))


def wrong_nodes(groups: Sequence[Sequence[str]], majority: int) -> list[str]:
    """All that are not of the majority; nobody, where there is none."""
    if len(groups[0]) < majority:
        return []
    return sorted(name for group in groups[1:] for name in group)


def differing_keys(rows: Mapping[str, Sequence[tuple[Key, str]]]) -> list[Key]:
    """Keys whose rows are not the same on all nodes, in the order of the nodes' own answers (which is that of the key)."""
    by_node = {name: dict(pairs) for name, pairs in rows.items()}
    keys = dict.fromkeys(key for pairs in rows.values() for key, _ in pairs)
    places: dict[Key, int] = {}
    for pairs in rows.values():
        for place, (key, _) in enumerate(pairs):
            places[key] = max(place, places.get(key, 0))
    differing = [key for key in keys if len({found.get(key) for found in by_node.values()}) > 1]
    return sorted(differing, key=lambda key: places[key])
