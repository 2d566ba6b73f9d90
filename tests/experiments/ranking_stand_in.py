"""An adviser in SEER's place, that ranks candidates by a rule which knows nothing of them: what SEER is compared with.

It answers `POST /elect-leader` at SEER's port in SEER's shape (seer_contract.py), so the coordinator that asks is the shipped
one, and elects as it always does.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from seer_contract import LeaderAnswer

from cluster_layout import HOST


def answer_of(ranking: Sequence[str], master: str) -> bytes:
    answer = LeaderAnswer(
        leader=ranking[0],
        ranking=list(ranking),
        scores={},
        excluded={},
        master=master,
        reason="a stand-in for SEER, which measures nothing",
    )
    return answer.model_dump_json().encode()


@contextlib.contextmanager
def ranking_stand_in(port: int, ranking: Sequence[str], master: str) -> Iterator[Callable[[], int]]:
    """Answers this ranking meanwhile; yields how often it was asked so far."""
    body = answer_of(ranking, master)
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        # HTTP/1.0, its default: no connection outlives the answer, so none leads here when SEER is back
        def do_POST(self) -> None:
            nonlocal asked
            asked += 1
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """It has nothing to say."""

    with ThreadingHTTPServer((HOST, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield lambda: asked
        finally:
            server.shutdown()
            thread.join()
