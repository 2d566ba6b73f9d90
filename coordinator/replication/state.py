"""What the parts of the protocol share: the epoch, the nodes, the log, and the effects of the step under way."""

import enum
from collections.abc import Sequence

import msgspec

from replication.effects import Effect, Report
from replication.log import EMPTY_LOG_END, EntryName, LogWindow
from replication.progress import NodeProgress, NodeState
from replication.quorum import QuorumSizes

MILLISECOND_NS = 1_000_000
BEHIND_NS = 1_000 * MILLISECOND_NS


class ReplicationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in ns, sizes in bytes. Nothing here makes anything safe: wrong values cost speed or patience."""

    heartbeat_ns: int = 250 * MILLISECOND_NS
    """Pause between two looks at idle nodes."""
    idle_flush_ns: int = 10 * MILLISECOND_NS
    """How long a replica waits for the next batch to apply the last one along with it."""
    fence_grace_ns: int = 100 * MILLISECOND_NS
    """How long an election with enough nodes waits for the others."""
    retry_ns: int = 100 * MILLISECOND_NS
    retry_ns_max: int = 1000 * MILLISECOND_NS
    needed_retry_ns_max: int = 250 * MILLISECOND_NS
    """How long a node is left alone at most while no quorum can be had without one more."""
    stable_ns: int = 5_000 * MILLISECOND_NS
    """An epoch that lasted so long counts as stable: the next election is the first in a row again."""
    taken_patience_ns: int = 2_000 * MILLISECOND_NS
    """How long a node may be in another coordinator's epoch while a quorum is ours; an election takes a part of that."""
    elections_at_once: int = 4
    """So many elections in a row, and so many attempts of one, begin without a pause."""
    pause_ns_max: int = 5_000 * MILLISECOND_NS
    """Before the next election, while epochs are won and lost again and again."""
    attempt_pause_ns_max: int = 400 * MILLISECOND_NS
    """Before the next attempt of an election that could not be won."""
    numbers_ahead: int = 64
    """Timestamps that are asked for at once at least; more when batches are large."""
    pending_max: int = 10_000
    batch_statements_max: int = 512
    """That the master executes in one transaction; a request of more goes alone."""
    batch_bytes_max: int = 4 << 20
    chunk_bytes_max: int = 1 << 20
    """Payload that one storing command carries at most (but at least one row)."""
    window_bytes_max: int = 16 << 20
    log_bytes_max: int = 256 << 20
    """Payload that every node keeps in its log, for nodes that come back; about so much, and a few seconds' writes more."""
    log_age_us_max: int = 24 * 3_600 * 1_000_000
    """What is older goes, however small the log is."""
    log_check_ns: int = 5_000 * MILLISECOND_NS
    log_patience_ns: int = 15_000 * MILLISECOND_NS
    """How long a node that counts for nothing is filled from the log before a full copy of another's data is thought of."""


class Phase(enum.Enum):
    STARTING = "starting"
    ELECTING = "electing"
    SERVING = "serving"
    DEPOSED = "deposed"


class ReplicationState:
    """Mutable state of one coordinator's replicator."""

    def __init__(
        self, node_names: Sequence[str], owner: str, new_cluster_id: str, settings: ReplicationSettings
    ) -> None:
        self.settings = settings
        self.owner = owner
        self.new_cluster_id = new_cluster_id
        self.cluster_id = ""
        self.sizes = QuorumSizes.of(len(node_names))
        self.nodes = {name: NodeProgress(name) for name in node_names}
        self.phase = Phase.STARTING
        self.has_served = False
        self.epoch = 0
        self.epoch_seen = 0
        self.master: str | None = None
        self.source: str | None = None
        """Whose disk has every row of the authoritative log: the most complete node, later the master."""
        self.window = LogWindow(EMPTY_LOG_END, settings.window_bytes_max)
        self.committed_timestamp = 0
        self.committed_at_ns = 0
        self.committed_before = 0
        """What was committed a second ago or longer: a node that has not applied that is behind."""
        self._noted = (0, 0)
        self.schema_version = 0
        """Grows whenever the schema may become another: with each epoch, and before a schema change is executed."""
        self.overruled: dict[EntryName, int] = {}
        """Entry -> the rows that it affects, where a commit quorum contradicts what was recorded."""
        self.schema_in_flux = False
        """A schema change is under way."""
        self.preferred_quorum: tuple[str, ...] = ()
        self.ranking: tuple[str, ...] = ()
        self.now_ns = 0
        self.wall_us = 0
        self.last_command = 0
        self._effects: list[Effect] = []

    def note_committed(self) -> None:
        """Called several times a second."""
        noted_ns, timestamp = self._noted
        if self.now_ns - noted_ns >= BEHIND_NS:
            self.committed_before, self._noted = timestamp, (self.now_ns, self.committed_timestamp)

    # ------------------------------------------------------------------------------------------ effects

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def take_effects(self) -> list[Effect]:
        taken, self._effects = self._effects, []
        return taken

    def report(self, severity: str, text: str) -> None:
        self.emit(Report(severity, text))

    def next_command(self) -> int:
        self.last_command += 1
        return self.last_command

    # ------------------------------------------------------------------------------------------ nodes

    @property
    def master_progress(self) -> NodeProgress:
        assert self.master is not None
        return self.nodes[self.master]

    @property
    def settled(self) -> bool:
        """Every node is a level member: there is nobody to fill, try or wait for."""
        for node in self.nodes.values():  # noqa: SIM110 (a generator costs more than what it looks at, after every step)
            if node.state is not NodeState.LEVEL or not node.member:
                return False
        return True

    @property
    def replicas(self) -> list[NodeProgress]:
        return [node for node in self.nodes.values() if node.name != self.master]

    def fenced_members(self) -> list[NodeProgress]:
        return [node for node in self.nodes.values() if node.fenced and node.member]

    def lose_node(self, node: NodeProgress, reason: str) -> None:
        if node.state is NodeState.QUARANTINED:
            return
        others = sum(other is not node for other in self.fenced_members())
        is_needed = others < self.sizes.commit
        longest = self.settings.needed_retry_ns_max if is_needed else self.settings.retry_ns_max
        backoff = min(self.settings.retry_ns * 2 ** min(node.failures, 6), longest)
        # what took its time to fail has waited already
        since_ns = node.asked_ns if node.state is NodeState.FENCING else self.now_ns
        if node.state is not NodeState.AWAY and node.failures == 0:
            self.report("warning", f"{node.name} is away: {reason}")
        node.lose(reason, since_ns + backoff)
