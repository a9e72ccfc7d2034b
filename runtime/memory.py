"""Peak memory of a run, measured in a process of its own: `python -m daq_deploy.runtime.memory`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from daq_deploy.errors import ModelError

from .session import Session
from .synthetic import smooth_image

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_memory(
    model: Path,
    height: int,
    width: int,
    provider: str = "cpu",
    threads: int | None = None,
    native: bool = True,
) -> int | None:
    """Return by how many bytes opening a model and one run raise the peak of a process that has loaded everything else.

    Main memory only (resident set), weights included. None on systems without /proc.

    Raises:
        ModelError: the process that measures ended early, for lack of memory or because the model cannot run.
    """
    if not _STATUS.exists():
        return None
    arguments = json.dumps([str(model), height, width, provider, threads, native])
    command = [sys.executable, "-m", __name__, arguments]
    # Without PYTHONSAFEPATH, -m would import from the folder the user happens to be in.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"{model.name}: measuring its memory ended with code {answer.returncode}: {reason}")
    return int(answer.stdout)


class PeakMemory:
    """How far the resident set of this process rises above what it is when this is made."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            _RESET.write_text("5")  # the peak starts anew; where that is forbidden, loading may count a little too
        self._before = _resident("VmRSS")

    def rise(self) -> int | None:
        """Return the bytes at the peak above those at the beginning; None on systems without /proc."""
        peak = _resident("VmHWM")
        return None if self._before is None or peak is None else max(0, peak - self._before)


def resident_memory() -> int:
    """Return the bytes of main memory this process holds now; 0 on systems without /proc."""
    return _resident("VmRSS") or 0


def _resident(entry: str) -> int | None:
    """VmRSS (now) or VmHWM (peak) in bytes; unlike ru_maxrss they do not start at the parent's peak."""
    if not _STATUS.exists():
        return None
    (kilobytes,) = re.findall(rf"{entry}:\s+(\d+) kB", _STATUS.read_text())
    return int(kilobytes) * 1024


def _main() -> None:
    model, height, width, provider, threads, native = json.loads(sys.argv[1])
    memory = PeakMemory()
    # Fallback nodes were accepted or refused before; here only memory counts.
    session = Session(model, provider, threads, allow_fallback=True, native=native)
    session.run(smooth_image(height, width, session.value_range, session.channels))
    print(memory.rise())


if __name__ == "__main__":
    _main()

__all__ = ["PeakMemory", "peak_memory", "resident_memory"]
