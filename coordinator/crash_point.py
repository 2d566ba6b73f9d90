"""Named points at which a test makes a service die, freeze or lose a connection: one at each arrow of its paths.

A protocol goes wrong between two of its steps, and there it stays for microseconds: a random kill hardly ever meets the one
moment that matters. So each arrow (a command is about to be sent, its reply is back, an answer is about to leave) has a name,
and a test enumerates all names with all actions (FoundationDB and etcd do it with failpoints, MySQL with debug builds).

The environment arms one point, when the service starts:

    CRASH_POINT   its name, service.arrow (other services take no notice)
    CRASH_ACTION  exit    the process is gone, as by kill -9
                  freeze  it stops until somebody sends SIGCONT
                  cut     the connection that this step uses is broken
    CRASH_AT      at the n-th time that the point is reached; 1 without it
    CRASH_MARK    a file that gets a line before the action

Invariant: the line is on the disk before anything happens. A test that does not find it has proven nothing, and fails.

Unarmed, `reach` is one look at a name that is None. The module knows nothing of the services: each declares its names in
one module (coordinator_points.py, …) and is the one who knows what a cut means at its arrow: ConnectionCut is raised there.
"""

import contextlib
import enum
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence

EXIT_STATUS = 137
"""What a shell says of a process that SIGKILL ended."""
SERVICES = ("cabinet", "coordinator", "seer", "timestamp")
"""First words of all names: the same environment is handed to several services."""


class Action(enum.StrEnum):
    EXIT = "exit"
    FREEZE = "freeze"
    CUT = "cut"


class ConnectionCut(ConnectionError):
    """The connection that this step uses is to be taken as broken. An OSError, like the real thing."""


class ArmedPoint:
    """The one point that acts, once."""

    def __init__(self, name: str, action: Action, at: int, mark: int | None) -> None:
        """`mark` is the descriptor of the file that gets the line."""
        self.name = name
        self._action = action
        self._at = at
        self._mark = mark
        self._count = 0

    def reached(self, name: str) -> None:
        if name != self.name:
            return
        self._count += 1
        if self._count != self._at:
            return
        self._leave_mark()
        if self._action is Action.EXIT:
            os._exit(EXIT_STATUS)
        if self._action is Action.FREEZE:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise ConnectionCut(f"cut by {name}")

    def _leave_mark(self) -> None:
        if self._mark is not None:
            os.write(self._mark, f"{self.name} {self._action} {self._count} {os.getpid()}\n".encode())
            os.fsync(self._mark)


_armed: ArmedPoint | None = None


def reach(name: str) -> None:
    """The process is at this point now. Raises ConnectionCut if that is what it is armed for."""
    if _armed is not None:
        _armed.reached(name)


def arm(points: Sequence[str], environment: Mapping[str, str]) -> None:
    """Arm what the environment names, if it is one of this service's `points`. A wrong name or action ends the start."""
    global _armed
    _armed = armed_point(points, environment)
    if _armed is not None:
        print(f"armed: this process will {environment['CRASH_ACTION']} at {_armed.name}", file=sys.stderr, flush=True)


def armed_point(points: Sequence[str], environment: Mapping[str, str]) -> ArmedPoint | None:
    """What is to be armed; None: nothing, or a point of another service. Raises SystemExit with a sentence."""
    name = environment.get("CRASH_POINT", "")
    if not name:
        return None
    service, ours = name.partition(".")[0], points[0].partition(".")[0]
    if service in SERVICES and service != ours:
        return None
    if name not in points:
        raise SystemExit(
            f"CRASH_POINT={name} is none of the points of {ours}: {', '.join(sorted(points))}."
            f" Other services' begin with {', '.join(other for other in SERVICES if other != ours)}."
        )
    action = environment.get("CRASH_ACTION", "")
    if action not in list(Action):
        raise SystemExit(f"CRASH_ACTION={action} is none of {', '.join(Action)}.")
    at = environment.get("CRASH_AT", "1")
    if not (at.isascii() and at.isdigit() and int(at) > 0):
        raise SystemExit(f"CRASH_AT={at} is no whole number from 1 on.")
    return ArmedPoint(name, Action(action), int(at), _open_mark(environment.get("CRASH_MARK", "")))


def _open_mark(path: str) -> int | None:
    """Opened at the start: a file that cannot be written is a mistake to be told then, and not at the point."""
    if not path:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise SystemExit(f"CRASH_MARK={path} cannot be written: {error.strerror}.") from error


def hang_up(peer: tuple[str, int] | None) -> None:
    """Cut the connection to this client, whatever library holds it: found among our own open sockets by its peer.

    ASGI has no word for it: a server that gets no response to send makes up one with status 500.
    """
    for ours in sockets_to(peer):
        with contextlib.suppress(OSError):  # it ended meanwhile
            ours.shutdown(socket.SHUT_RDWR)


def sockets_to(peer: tuple[str, int] | None) -> Iterator[socket.socket]:
    """Our end of the connection to this client, whatever library holds it; valid until the next one is asked for."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # closed meanwhile, or not connected
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                # a copy, so that closing it does not take the descriptor away from its owner
                with socket.socket(fileno=os.dup(descriptor)) as ours:
                    if ours.getpeername()[:2] == peer:
                        yield ours
