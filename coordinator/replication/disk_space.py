"""Whether a master's word that its disk is full is a reason to replace it.

A full disk is the node's fault and not the request's: whoever waits for somebody to make room waits for ever, and a master
that has no space for users' rows may answer everything else. But a statement may be too large for every disk. So a request is
run on another master once; where there is no space either, the request is what is too large, and for a while no complaint makes
the cluster elect.
"""

from replication.state import MILLISECOND_NS
from replication.values import Disturbed

NO_SPACE_ERRNOS = frozenset({1021, 1026, 1114})
"""MySQL's words for it: disk full, error writing file, the table is full."""
PATIENCE_NS = 60_000 * MILLISECOND_NS


class DiskSpace:
    """Who complained last, and about which request."""

    def __init__(self) -> None:
        self._request_id = 0
        self._master = ""
        self._believed_again_ns = 0

    def is_believed(self, request_id: int, master: str, complaint: Disturbed, now_ns: int) -> bool:
        """Whether the master should be replaced because of what it said to this request."""
        if complaint.errno not in NO_SPACE_ERRNOS:
            return False
        if request_id == self._request_id:
            if master != self._master:
                self._believed_again_ns = now_ns + PATIENCE_NS
            return False
        self._request_id, self._master = request_id, master
        return now_ns >= self._believed_again_ns
