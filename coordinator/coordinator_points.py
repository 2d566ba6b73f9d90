"""The crash points of the coordinator: the arrows of its paths, derived from the effects of the protocol.

Each effect has `….before`: it is about to be carried out (a command is about to be sent, an answer is about to reach its
client). An effect that brings a reply has `….after` too: the reply is here, the protocol does not know it yet. A new effect
gets its points by being in `replication.effects.Effect`, and then a test that reaches none of them fails.

A cut before a command means that it was not sent, a cut after it that its reply was lost; either way the connections of that
node are gone. Cut off from its answer, a client sees its connection break.
"""

import re
from typing import get_args

from replication.effects import Effect, NodeEffect, Report, RequestTimestamps


def words(kind: type) -> str:
    """StoreRows -> store-rows."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


# a Report is a line in the log: nobody waits for it
BEFORE: dict[type, str] = {kind: f"coordinator.{words(kind)}.before" for kind in get_args(Effect) if kind is not Report}
AFTER: dict[type, str] = {
    kind: f"coordinator.{words(kind)}.after" for kind in (*get_args(NodeEffect), RequestTimestamps)
}
START_BEFORE = "coordinator.start.before"
"""The settings are read; nobody was called yet."""
START_AFTER = "coordinator.start.after"
"""The first step is taken; the door is still closed. A cut at either ends the start."""
ADVICE_BEFORE = "coordinator.ask-for-advice.before"
ADVICE_AFTER = "coordinator.ask-for-advice.after"
COMPARE_BEFORE = "coordinator.compare-rows.before"
"""All nodes are about to be asked the same question, each in its snapshot."""
COMPARE_AFTER = "coordinator.compare-rows.after"

POINTS = (
    START_BEFORE,
    START_AFTER,
    *BEFORE.values(),
    *AFTER.values(),
    ADVICE_BEFORE,
    ADVICE_AFTER,
    COMPARE_BEFORE,
    COMPARE_AFTER,
)
