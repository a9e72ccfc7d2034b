from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from daq_deploy import runtime
from daq_deploy.runtime import library

ROOT = Path(__file__).resolve().parents[2]

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake on this machine")
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), reason="no C++ compiler here"
)


def configure(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(folder), "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_library_belongs_to_this_code():
    path = library.library_path()
    if path is None:
        pytest.skip("this installation was made without a C++ compiler")
    assert ctypes.CDLL(str(path)).daq_native_abi_version() == library.ABI_VERSION


@needs_cmake
@needs_compiler
def test_the_library_builds_and_is_found_in_the_package(tmp_path, monkeypatch):
    configured = configure(tmp_path)
    assert configured.returncode == 0, configured.stderr
    subprocess.run(["cmake", "--build", str(tmp_path)], check=True, capture_output=True)
    built = tmp_path / "runtime" / "native"
    monkeypatch.setattr(runtime, "__path__", [str(ROOT / "runtime"), str(built)])
    path = library.library_path()
    assert path == built / library.FILE_NAME
    assert ctypes.CDLL(str(path)).daq_native_abi_version() == library.ABI_VERSION


@needs_cmake
def test_without_a_compiler_the_project_configures_and_builds_nothing(tmp_path):
    configured = configure(tmp_path, CXX="/nonexistent")
    assert configured.returncode == 0, configured.stderr
    assert "installed without its native library" in configured.stderr
    subprocess.run(["cmake", "--build", str(tmp_path)], check=True, capture_output=True)
    assert not list(tmp_path.rglob(library.FILE_NAME))


def test_no_library_is_no_path(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "__path__", [str(tmp_path)])
    assert library.library_path() is None
