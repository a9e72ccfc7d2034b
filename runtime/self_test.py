"""Every kernel of the native library against the numpy oracle: `python -m daq_deploy.runtime.self_test`.

A process of its own for each instruction set, since the library chooses one when it is loaded, and since a kernel that the
processor cannot run ends its process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .kernel_checks import CHECKS, Disagreement
from .library import load_library
from .model_source import first_line

_SECONDS = 120


@dataclass(frozen=True)
class KernelCheck:
    """One kernel against the oracle."""

    kernel: str
    """Name of the op: "daq.native.Conv"."""
    passed: bool
    detail: str
    """What was compared and by how much it differs, or what went wrong."""


@dataclass(frozen=True)
class TierCheck:
    """All kernels in one instruction set."""

    isa: str
    kernels: tuple[KernelCheck, ...]
    problem: str | None
    """Why the kernels could not be run; None where they were."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What went wrong, one line each; none where every kernel agrees with the oracle."""
        if self.problem is not None:
            return (f"{self.isa}: {self.problem}",)
        return tuple(f"{self.isa}: {check.kernel}: {check.detail}" for check in self.kernels if not check.passed)


def check_tier(isa: str) -> TierCheck | None:
    """Run every kernel in one instruction set, in a process of its own; None where this machine does not have it."""
    command = [sys.executable, "-m", __name__]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "DAQ_ISA": isa}
    try:
        answer = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, env=environment, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return TierCheck(isa, (), f"did not end within {_SECONDS} s")
    if answer.returncode != 0:
        return TierCheck(isa, (), _ending(answer.returncode, answer.stderr))
    used, checks = json.loads(answer.stdout)
    return None if used != isa else TierCheck(isa, tuple(KernelCheck(**values) for values in checks), None)


def check_kernels() -> tuple[KernelCheck, ...]:
    """Run every kernel in the instruction set that this process has loaded."""
    return tuple(_checked(name, check) for name, check in CHECKS.items())


def _checked(name: str, check: Callable[[], str]) -> KernelCheck:
    try:
        return KernelCheck(name, True, check())
    except Disagreement as error:
        return KernelCheck(name, False, str(error))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        return KernelCheck(name, False, first_line(error))


def _ending(code: int, stderr: str) -> str:
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    lines = stderr.strip().splitlines() or ["no message"]
    return f"the process ended with code {code}: {lines[-1]}"


def _main() -> None:
    library = load_library()
    assert library is not None
    wanted = os.environ.get("DAQ_ISA", library.isa)
    checks = check_kernels() if library.isa == wanted else ()
    print(json.dumps([library.isa, [asdict(check) for check in checks]]))


if __name__ == "__main__":
    _main()

__all__ = ["KernelCheck", "TierCheck", "check_kernels", "check_tier"]
