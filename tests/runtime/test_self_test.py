from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from daq_deploy.runtime import kernel_checks, self_test
from daq_deploy.runtime.library import INSTRUCTION_SETS, library_path

NATIVE = Path(__file__).resolve().parents[2] / "runtime" / "native"

needs_library = pytest.mark.skipif(library_path() is None, reason="this installation was made without a C++ compiler")


def test_every_op_of_the_library_is_checked():
    domains = {"kFunctionDomain": "daq", "kNativeDomain": "daq.native"}
    headers = "".join((NATIVE / name).read_text() for name in ("ops.h", "range_ops.h", "resampling_ops.h"))
    ops = re.findall(r'kName = "(\w+)";\s+static constexpr const char\* kDomain = (\w+);', headers)
    assert sorted(kernel_checks.CHECKS) == sorted(f"{domains[domain]}.{name}" for name, domain in ops)


@needs_library
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_kernels_agree_with_the_oracle(isa):
    tier = self_test.check_tier(isa)
    if tier is None:
        pytest.skip(f"this machine does not have {isa}")
    assert tier.failures == ()
    assert [check.kernel for check in tier.kernels] == list(kernel_checks.CHECKS)


@needs_library
def test_a_kernel_that_disagrees_is_found(monkeypatch):
    real = kernel_checks.channel_range

    def shifted(*arguments, **options):
        channels = real(*arguments, **options)
        return replace(channels, step=channels.step * 1.01)

    monkeypatch.setattr(kernel_checks, "channel_range", shifted)
    found = {check.kernel: check for check in self_test.check_kernels()}
    assert not found["daq.ChannelRange"].passed
    assert found["daq.ChannelRange"].detail == "lo and step differ by 0.0099, 0.0001 is allowed"
    assert found["daq.native.ToPlanar"].passed


@needs_library
def test_a_convolution_with_other_weights_is_found(monkeypatch):
    real = kernel_checks.convolve
    monkeypatch.setattr(kernel_checks, "convolve", lambda planar, weight: real(planar, weight[:, :, ::-1]))
    found = {check.kernel: check.passed for check in self_test.check_kernels()}
    assert [name for name, passed in found.items() if not passed] == [
        "daq.native.FloatConv",
        "daq.native.Conv",
        "daq.native.PlanarConv",
    ]


@pytest.mark.parametrize(
    ("code", "stderr", "problem"),
    [
        (-4, "", "the process was ended by SIGILL"),
        (1, "Traceback\nOSError: no such library\n", "the process ended with code 1: OSError: no such library"),
    ],
)
def test_a_process_that_ends_early_is_a_problem(monkeypatch, code, stderr, problem):
    ended = subprocess.CompletedProcess([], code, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: ended)
    tier = self_test.check_tier("avx2")
    assert tier is not None
    assert tier.failures == (f"avx2: {problem}",)


def test_a_process_that_hangs_is_a_problem(monkeypatch):
    def hang(*arguments, **options):
        raise subprocess.TimeoutExpired("x", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    tier = self_test.check_tier("avx2")
    assert tier is not None
    assert "did not end within" in tier.failures[0]
