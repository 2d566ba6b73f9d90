"""The crash points of SEER (crash_point.py). A cut around the collector's answer is a collector that cannot be reached;
cut off from its answer, a caller sees its connection break."""

COLLECTOR_BEFORE = "seer.collector.before"
COLLECTOR_AFTER = "seer.collector.after"
ANSWER = "seer.answer.before"

POINTS = (COLLECTOR_BEFORE, COLLECTOR_AFTER, ANSWER)
