"""Asks the service in this container GET /health: `python health_probe.py PORT` ends with 0 if the answer is 200.

The container's health check (slim images have no curl). It starts every few seconds beside the service, so it imports next to
nothing.
"""

import socket
import sys

TIMEOUT_S = 3.0


def is_healthy(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            # the status line: HTTP/1.1 200 OK
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not is_healthy(int(sys.argv[1])))
