"""Which two replicas a write waits for: Cabinet's question, with the answers that it is compared with.

The product waits for whichever two of three replicas have a row on their disks first (coordinator/replication/write_path.py). A
fixed or a random pair is nothing that it offers, so here is a write path that waits for a given pair besides: it is told the
pair for each row and does not tell the master to commit before both of them have it. The product's own rule still decides; this
one can only wait longer, so nothing that was acknowledged can be lost by it.

Hard case: a batch whose pair changes while it waits. Drawn anew at each answer, a random pair would be whichever came first,
which is the adaptive rule again. So a row's pair is drawn once.
"""

import random
from collections.abc import Callable, Sequence

from replication.batch_under_way import Stage
from replication.log import Position
from replication.quorum import QuorumSizes
from replication.write_path import WritePath

Choose = Callable[[Sequence[str], Sequence[str]], tuple[str, ...]]
"""(replicas by name, Cabinet's latest proposal) -> those to be waited for."""

PAIR = QuorumSizes.of(4).commit_replicas


def fixed_pair(replicas: Sequence[str], _: Sequence[str]) -> tuple[str, ...]:
    """Always the first two by name."""
    return tuple(replicas[:PAIR])


def random_pair(chance: random.Random) -> Choose:
    """Any two, drawn for each row."""

    def choose(replicas: Sequence[str], _: Sequence[str]) -> tuple[str, ...]:
        return tuple(chance.sample(sorted(replicas), PAIR))

    return choose


def proposed_pair(replicas: Sequence[str], proposal: Sequence[str]) -> tuple[str, ...]:
    """Those that Cabinet proposes; the first two by name until it has proposed any, or where it proposes the master."""
    chosen = tuple(name for name in proposal if name in replicas)
    return chosen if len(chosen) == PAIR else fixed_pair(replicas, proposal)


def policy(name: str, seed: str) -> Choose:
    """By the name that the setting AWAITED_PAIR has; KeyError for another."""
    return {"fixed": fixed_pair, "random": random_pair(random.Random(seed)), "proposed": proposed_pair}[name]


def write_path_that_awaits(choose: Choose) -> type[WritePath]:
    """The product's, that waits for the pair that `choose` names as well."""

    class AwaitingWritePath(WritePath):
        _row: Position | None = None
        _pair: tuple[str, ...] = ()

        def stored(self) -> None:
            batch = self.batch
            if batch is not None and batch.stage is Stage.STORING and batch.row is not None:
                row = batch.row.position
                if row != self._row:
                    replicas = sorted(node.name for node in self._state.replicas)
                    self._row, self._pair = row, choose(replicas, self._state.preferred_quorum)
                if not all(self._state.nodes[name].has(row) for name in self._pair):
                    return
            super().stored()

    return AwaitingWritePath
