"""Asks the service in this container GET /health: `python health_probe.py PORT [PATH]` ends with 0 if the answer is 200.

The container's health check (slim images have no curl). It starts every few seconds beside the service, so it imports next to
nothing. Where uvicorn is told of a certificate (UVICORN_SSL_CERTFILE), it speaks TLS. It does not verify: it asks its own
container whether it answers, and the certificate's names are those that clients use.
"""

import os
import socket
import sys

TIMEOUT_S = 3.0


def connect(port: int, *, with_tls: bool) -> socket.socket:
    """Raises OSError."""
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    if not with_tls:
        return connection
    import ssl  # it takes as long as all the rest

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connection:  # wrapped, it lives on; a handshake that fails closes it
        return context.wrap_socket(connection)


def is_healthy(port: int, path: str = "/health") -> bool:
    try:
        with connect(port, with_tls=bool(os.environ.get("UVICORN_SSL_CERTFILE"))) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            # the status line: HTTP/1.1 200 OK
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not is_healthy(int(sys.argv[1]), *sys.argv[2:]))
