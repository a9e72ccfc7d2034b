"""Hostile and broken checkpoints: each is refused with one line that names the file, and no code of theirs runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from daq_deploy.errors import CheckpointError
from daq_deploy.exporters.checkpoint import load_checkpoint


class RunsCode:
    """Unpickling an instance runs a shell command that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "\x1b" not in message
    return message


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("place", ["root", "weight", "beside"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, form: str, place: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "network.pt"
    attack = RunsCode(marker)
    content = {
        "root": attack,
        "weight": {"head.0.weight": attack},
        "beside": {"state_dict": {"head.0.weight": torch.zeros(1)}, "optimizer": attack},
    }[place]
    if form == "bare":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert "holds a pickled" in refusal(path)
    assert not marker.exists()


def test_the_attack_itself_works(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "network.pt"
    torch.save(RunsCode(marker), path)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_pickled_module_is_refused_by_its_class(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "network.pth"
    torch.save(network, path)
    message = refusal(path)
    assert "torch.nn.modules.container.Sequential" in message
    assert "state_dict()" in message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "network.pt"
    torch.jit.script(network).save(str(path))
    assert "TorchScript" in refusal(path)


def test_a_torch_export_archive_is_refused(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "network.pt"
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 8, 8),)), buffer)
    path.write_bytes(buffer.getvalue())
    assert "torch.export archive" in refusal(path)
    assert "expected .pt, .pth or .safetensors" in refusal(path.rename(tmp_path / "network.pt2"))


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.pt")
    assert "no such file" in refusal(tmp_path)
    for name in ("empty.pt", "empty.safetensors"):
        (tmp_path / name).touch()
        assert "empty" in refusal(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"\x00" * 500, b"not a checkpoint", bytes(range(256)) * 8, b"\x80\x02}q\x00", b"PK\x03\x04"]
)
def test_garbage(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"network{suffix}"
    path.write_bytes(content)
    assert "download it again" in refusal(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_anywhere(tmp_path: Path, network: nn.Module, legacy: bool) -> None:
    path = tmp_path / "network.pt"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for length in (*range(1, len(whole), max(1, len(whole) // 60)), len(whole) - 1):
        path.write_bytes(whole[:length])
        message = refusal(path)
        # A cut through the name of a class leaves another, unknown name.
        assert "download it again" in message or (legacy and "holds a pickled" in message)


def test_zip_with_another_content(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/readme.txt", "nothing to load")
    assert "download it again" in refusal(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 100_000_001, 5000])
def test_safetensors_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "network.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" * 100)
    assert "not a readable safetensors file" in refusal(path)


def test_safetensors_tensor_beyond_the_file(tmp_path: Path) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = tmp_path / "network.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\x00" * 64)
    assert "not a readable safetensors file" in refusal(path)


def test_a_tensor_of_stride_zero_cannot_ask_for_all_memory(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save({"head.0.weight": torch.zeros(1).expand(2**20, 2**20)}, path)
    assert path.stat().st_size < 10_000
    assert "head.0.weight claims 1099511627776 values" in refusal(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    path = tmp_path / "network.pt"
    torch.save({"head.0.weight": torch.ones(3), "body.5.bias": torch.tensor([0.0, value])}, path)
    assert "body.5.bias holds NaN or infinite values" in refusal(path)


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({}, "a dictionary of nothing"),
        ({"epoch": 3, "loss": 0.1}, "a dictionary of epoch, loss"),
        ({"state_dict": {"name": "x"}}, "a dictionary of name"),
        ([torch.ones(2)], "an object of type list"),
        (torch.ones(2), "an object of type Tensor"),
    ],
)
def test_no_tensors_by_name(tmp_path: Path, content: object, held: str) -> None:
    path = tmp_path / "network.pt"
    torch.save(content, path)
    assert f"holds no tensors by name, but {held};" in refusal(path)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (3, "is of type int, not a tensor"),
        (OrderedDict(a=torch.ones(1)), "is of type OrderedDict, not a tensor"),
        (torch.eye(3).to_sparse(), "is not a dense real tensor"),
        (torch.ones(2, dtype=torch.complex64), "is not a dense real tensor"),
        (torch.empty(2, device="meta"), "is not a dense real tensor"),
    ],
)
def test_a_value_that_is_no_plain_tensor_is_named(tmp_path: Path, value: object, what: str) -> None:
    path = tmp_path / "network.pt"
    torch.save({"head.0.weight": torch.ones(3), "extra": value}, path)
    assert f"extra {what}" in refusal(path)
