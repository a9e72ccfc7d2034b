"""Every native operator against the reference in numpy, over random shapes, in every tier that this processor has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daq_deploy.runtime.library import INSTRUCTION_SETS, library_path

FOLDER = Path(__file__).resolve().parent
ROUNDS = 12

pytestmark = pytest.mark.skipif(library_path() is None, reason="installed without a C++ compiler: no library")


@pytest.mark.parametrize("tier", INSTRUCTION_SETS)
def test_operators_agree_with_the_reference(tier):
    """In a process of its own: the library chooses its tier once."""
    paths = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")])
    answer = subprocess.run(
        [sys.executable, str(FOLDER / "kernel_cases.py"), str(ROUNDS), "20"],
        env={**os.environ, "DAQ_ISA": tier, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    found = json.loads(answer.stdout)
    if found["isa"] != tier:
        pytest.skip(f"this processor's best tier is {found['isa']}")
    assert found["cases"]["convolution"] == 6 * ROUNDS
    assert found["problems"] == []
