"""On which machine and by which code something was measured: figures without that say nothing."""

import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

from cluster_layout import ROOT

FLUSHES = 200


def flush_ms(folder: Path) -> float:
    """The median of what appending four kilobytes to a file and flushing it takes where the systems' data is."""
    path, times_ms = folder / "flush-probe", []
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            began_s = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - began_s) * 1000)
    path.unlink()
    return statistics.median(times_ms)


def about_machine(folder: Path) -> str:
    """Processors, kernel, the disk under `folder`, and how busy it was before."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "processor")
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, one flush {flush_ms(folder):.2f} ms, "
        f"load before {os.getloadavg()[0]:.1f}"
    )


def commit() -> str:
    """Of this checkout; `-dirty` where it was changed since."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"
