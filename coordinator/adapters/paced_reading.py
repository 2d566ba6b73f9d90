"""One read of a connection in a turn of the event loop, and none while nobody takes what has come.

libuv, under uvloop, reads a socket up to 32 times in one turn as long as more is there, and asyncmy's buffer doubles for it. A
server on the same machine is fast enough for that: parts of 11 MB were seen where asyncio's own loop gives at most 256 KB, and a
result that was sent as it came took up to 100 MB of memory.
"""

import asyncio
from typing import Any


class PacedReading(asyncio.BufferedProtocol):
    """Stands between a transport and its own protocol until `end`. It begins without reading."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._protocol = transport.get_protocol()
        self._loop = asyncio.get_running_loop()
        self._is_wanted = False
        transport.set_protocol(self)
        transport.pause_reading()

    def want(self) -> None:
        """Read on, until `enough`."""
        self._is_wanted = True
        self._read_on()

    def enough(self) -> None:
        self._is_wanted = False
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def end(self) -> None:
        """The protocol reads as it likes again."""
        if not self._transport.is_closing():
            self._transport.set_protocol(self._protocol)
            self._transport.resume_reading()

    # --- the transport's calls

    def get_buffer(self, sizehint: int) -> Any:
        return self._protocol.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self._transport.pause_reading()
        self._protocol.buffer_updated(nbytes)
        # behind the turn of whoever waits for these bytes: they may be enough
        self._loop.call_soon(self._read_on)

    def eof_received(self) -> bool | None:
        is_kept_open: bool | None = self._protocol.eof_received()
        return is_kept_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _read_on(self) -> None:
        if self._is_wanted and not self._transport.is_closing():
            self._transport.resume_reading()
