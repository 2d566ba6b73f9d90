"""The crash points of a timestamp server (crash_point.py): the arrows from a number's reservation to its caller.

A cut of a reservation is a disk that fails there: an OSError. Cut off from its answer, a caller sees its connection break.
"""

WRITE = "timestamp.reservation.write"
"""Before the new file is written."""
RENAME = "timestamp.reservation.rename"
"""The new file is on the disk, under its temporary name."""
SYNC_FOLDER = "timestamp.reservation.sync-folder"
"""The new file has the final name, which a power cut could still take back."""
LEARN = "timestamp.reservation.learn"
"""The bound is durable; the allocator does not know it yet."""
ANSWER = "timestamp.answer.before"

POINTS = (WRITE, RENAME, SYNC_FOLDER, LEARN, ANSWER)
