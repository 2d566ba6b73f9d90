"""The lines to the four nodes, in the hands of a test: starts the proxy process (tcp_proxy.py) and tells it what to do."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tcp_proxy import CUT, DELAY, HOLD, HOST, PASS

PROXY_END_S = 10.0


class NodeLines:
    """Every method returns when the line is as wanted."""

    def __init__(self, process: "subprocess.Popen[str]", ports: Mapping[str, int]) -> None:
        self._process = process
        self.ports = dict(ports)

    @property
    def addresses(self) -> str:
        """What the services are to be told: the setting NODES."""
        return ",".join(f"{node}={HOST}:{port}" for node, port in self.ports.items())

    def _set(self, node: str, to_node: str, from_node: str, delay_ms: float = 0.0) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = {"node": node, "to_node": to_node, "from_node": from_node, "delay_ms": delay_ms}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n", "the proxy process has ended"

    def hold(self, node: str, *, to_node: bool = False, from_node: bool = False) -> None:
        """A cut as TCP sees it, in one direction or both: what was sent comes when the line is healed."""
        self._set(node, HOLD if to_node else PASS, HOLD if from_node else PASS)

    def delay(self, node: str, delay_ms: float, *, to_node: bool = True, from_node: bool = True) -> None:
        self._set(node, DELAY if to_node else PASS, DELAY if from_node else PASS, delay_ms)

    def cut(self, node: str) -> None:
        """Reset every connection, and each new one until the line is healed."""
        self._set(node, CUT, CUT)

    def heal(self, node: str) -> None:
        self._set(node, PASS, PASS)

    def heal_all(self) -> None:
        for node in self.ports:
            self.heal(node)


@contextlib.contextmanager
def node_lines(targets: Mapping[str, int]) -> Iterator[NodeLines]:
    """Lines to the nodes at these ports. The process ends with us, in whichever way we end: its stdin is closed then."""
    command = [sys.executable, str(Path(__file__).with_name("tcp_proxy.py"))]
    with subprocess.Popen(
        [*command, *(f"{node}={port}" for node, port in targets.items())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield NodeLines(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(PROXY_END_S)
