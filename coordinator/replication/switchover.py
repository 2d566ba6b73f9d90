"""A planned change of master: hold new batches, let the last one end, level the target, elect it.

Raft's leadership transfer (Raft thesis section 3.10). The rest is an election like any other, so nothing new has to be safe: the
target is only *preferred* among the fenced members, and requests are held meanwhile, never failed.

Hard case: the target turns slow or dies after the batches were held. Either way this ends by its deadline and the old master, or
whoever an election finds, goes on.
"""

from collections.abc import Callable

from replication.effects import SwitchoverEnded
from replication.progress import NodeState
from replication.state import MILLISECOND_NS, Phase, ReplicationState
from replication.write_path import WritePath

PATIENCE_NS = 1000 * MILLISECOND_NS
"""How long writes are held for the target to become level."""


class Switchover:
    """The planned change under way, if `target` is set."""

    def __init__(self, state: ReplicationState, writes: WritePath, elect: Callable[[str, str], None]) -> None:
        """`elect(reason, preferred)` starts an election."""
        self._state = state
        self._writes = writes
        self._elect = elect
        self.target: str | None = None
        self._deadline_ns = 0
        self._electing = False

    def begin(self, target: str) -> None:
        state = self._state
        refusal = self._refusal(target)
        if refusal:
            state.emit(SwitchoverEnded(False, state.master, refusal))
        elif target == state.master:
            state.emit(SwitchoverEnded(True, target, "it is the master already"))
        else:
            self.target = target
            self._deadline_ns = state.now_ns + PATIENCE_NS
            self._electing = False
            self._writes.paused = True
            self.advance()

    def _refusal(self, target: str) -> str:
        state = self._state
        node = state.nodes.get(target)
        if node is None:
            return f"there is no node {target!r}; known: {', '.join(state.nodes)}"
        if self.target is not None:
            return f"a switchover to {self.target} is under way"
        if state.phase is not Phase.SERVING:
            return f"the cluster is {state.phase.value}"
        if state.schema_in_flux:
            return "a schema change is under way: wait for its end"
        if target != state.master and (node.state is not NodeState.LEVEL or not node.member):
            return f"{target} is {node.state.value}{'' if node.member else ', and no member'}: {node.reason or 'wait'}"
        return ""

    def advance(self) -> None:
        """Called after every step while a switchover is under way."""
        state = self._state
        if self.target is None:
            return
        if self._electing:
            if state.phase is Phase.SERVING:
                reached = state.master == self.target
                self._end(reached, "" if reached else f"the election found {state.master} instead")
            elif state.phase is Phase.DEPOSED:
                self._end(False, "another coordinator has taken over")
        elif state.phase is not Phase.SERVING:
            self._electing = True  # the master failed meanwhile: its election is ours to wait for
        elif (
            self._writes.batch is None
            and self._writes.changes.open is None
            and state.nodes[self.target].has(state.window.end.position)
        ):
            self._electing = True
            self._elect(f"a planned switchover to {self.target}", self.target)
        elif state.now_ns >= self._deadline_ns:
            self._end(False, f"{self.target} did not become level within {PATIENCE_NS // MILLISECOND_NS} ms")

    def _end(self, done: bool, reason: str) -> None:
        self.target = None
        self._writes.paused = False
        self._state.emit(SwitchoverEnded(done, self._state.master, reason))
        self._writes.start()

    @property
    def wake_at_ns(self) -> int | None:
        return None if self.target is None or self._electing else self._deadline_ns
