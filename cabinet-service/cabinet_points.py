"""The crash points of Cabinet (crash_point.py). A cut around the collector's answer is a collector that cannot be reached;
cut off from its answer, a caller sees its connection break."""

COLLECTOR_BEFORE = "cabinet.collector.before"
COLLECTOR_AFTER = "cabinet.collector.after"
ANSWER = "cabinet.answer.before"

POINTS = (COLLECTOR_BEFORE, COLLECTOR_AFTER, ANSWER)
