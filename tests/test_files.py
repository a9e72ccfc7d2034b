from __future__ import annotations

import hashlib
import os
import stat

import pytest

from daq_deploy.errors import DaqError, OutputExistsError
from daq_deploy.files import atomic_write, check_output, sha256_of


def write_half(path, force):
    with atomic_write(path, force) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError


def test_what_is_written_appears_under_its_name_and_nothing_else_does(tmp_path):
    with atomic_write(tmp_path / "out.bin") as temporary:
        assert temporary.suffix == ".bin"
        assert not (tmp_path / "out.bin").exists()
        temporary.write_bytes(b"data")
    assert os.listdir(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"data"


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "out.bin", force=False)
    assert os.listdir(tmp_path) == []


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_half(path, force=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_an_existing_file_needs_force(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match="--force"), atomic_write(path):
        pass
    with atomic_write(path, force=True) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/out.bin", "."])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(name, tmp_path):
    with pytest.raises(DaqError, match=r"create it first|name a file"):
        check_output(tmp_path / name, force=True)


def test_the_file_may_be_read_by_those_the_umask_lets(tmp_path):
    mask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "out.bin") as temporary:
            temporary.write_bytes(b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == 0o644


def test_sha256_is_that_of_the_content(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
