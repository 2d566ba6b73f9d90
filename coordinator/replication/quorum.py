"""How many nodes decide: the only rules that make anything safe. Scores and weights choose among what these allow.

With n nodes a write is committed by the master and N replicas, N = ⌈(replicas + 1) / 2⌉ (the README's rule: 2 of 3).
An election must meet every commit quorum, so that it finds every committed entry (n - commit quorum + 1 = 2 of 4 would do:
flexible quorums, Howard, Malkhi and Spiegelman 2016), and every other election, so that an epoch has one owner (a majority:
3 of 4). The second costs nothing: the no-op that ends an election needs a commit quorum anyway.

A strong read is confirmed by a commit quorum: enough to meet every election, and one more than that needs.
"""

from collections.abc import Collection, Sequence

import msgspec

from replication.log import Position


class QuorumSizes(msgspec.Struct, frozen=True):
    """Quorum sizes for `nodes` nodes; a commit quorum counts the master."""

    nodes: int
    commit_replicas: int
    commit: int
    election: int

    @classmethod
    def of(cls, nodes: int) -> "QuorumSizes":
        replicas = nodes - 1
        commit_replicas = -(-(replicas + 1) // 2)
        commit = 1 + commit_replicas
        election = max(nodes - commit + 1, nodes // 2 + 1)
        return cls(nodes=nodes, commit_replicas=commit_replicas, commit=commit, election=election)

    @property
    def confirmation(self) -> int:
        """Nodes that must still be in our epoch for a strong read to be true."""
        return self.commit


def counted_replicas(appended: Collection[str], preferred: Sequence[str], size: int) -> tuple[str, ...]:
    """The `size` replicas that a commit is said to rest on: Cabinet's choice first, then by name. Empty: too few.

    Waiting for the chosen ones alone would let a slow one hold a write back that is already safe elsewhere (papers
    section 4.2, C3), so any `size` of those that have it will do.
    """
    if len(appended) < size:
        return ()
    chosen = [name for name in preferred if name in appended]
    chosen += sorted(set(appended) - set(chosen))
    return tuple(sorted(chosen[:size]))


def most_complete(log_ends: dict[str, Position]) -> str:
    """The node whose log is authoritative: greatest (epoch, timestamp), ties by name (Raft section 5.4.1)."""
    greatest = max(log_ends.values())
    return min(name for name, end in log_ends.items() if end == greatest)


def rank_candidates(fenced: Collection[str], incumbent: str | None, ranking: Sequence[str]) -> tuple[str, ...]:
    """In what order to try nodes as master: the incumbent while it is among them, then SEER's ranking, then by name."""
    order = [] if incumbent is None else [incumbent]
    order += [name for name in ranking if name not in order]
    order += [name for name in sorted(fenced) if name not in order]
    return tuple(name for name in order if name in fenced)
