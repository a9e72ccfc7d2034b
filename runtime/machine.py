"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_INSTRUCTION_SETS = (
    *("sse4_2", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2"),
)
"""Flags of /proc/cpuinfo that decide which kernels run, x86-64 and ARM."""


@dataclass(frozen=True)
class Machine:
    """The computer."""

    cpu: str
    """Model of the processor."""
    cores: int
    """Logical processors this process may use."""
    instruction_sets: tuple[str, ...]
    """Those that decide which kernels run; empty where the system does not list them."""
    operating_system: str
    python: str
    gpus: tuple[str, ...]
    """Name, driver version and memory of each NVIDIA GPU; empty without a driver."""


def this_machine() -> Machine:
    """Look at the machine this runs on."""
    information = _cpu_information()
    flags = (information.get("flags") or information.get("Features") or "").split()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=information.get("model name") or platform.processor() or platform.machine(),
        cores=usable,
        instruction_sets=tuple(name for name in _INSTRUCTION_SETS if name in flags),
        operating_system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        gpus=_nvidia_gpus(),
    )


def _cpu_information() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty on other systems."""
    if not _CPUINFO.exists():
        return {}
    first, _, _ = _CPUINFO.read_text().partition("\n\n")
    entries = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in entries}


def _nvidia_gpus() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)  # noqa: S603
    return tuple(answer.stdout.strip().splitlines()) if answer.returncode == 0 else ()


__all__ = ["Machine", "this_machine"]
