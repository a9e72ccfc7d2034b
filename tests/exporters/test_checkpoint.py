from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from daq_deploy.errors import CheckpointError
from daq_deploy.exporters.checkpoint import load_checkpoint

WEIGHTS = {"head.0.weight": torch.arange(6.0).reshape(2, 3), "head.0.bias": torch.tensor([0.5, -0.5])}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"params": {name: tensor + 1 for name, tensor in weights.items()}, "params_ema": weights},
        lambda weights: {"params": weights},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {"model": {f"module.module.{name}": tensor for name, tensor in weights.items()}},
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_wrapped_weights_come_out_plain(tmp_path: Path, suffix: str, wrap: Callable[[Any], Any]) -> None:
    path = tmp_path / f"network{suffix}"
    torch.save(wrap(WEIGHTS), path)
    loaded = load_checkpoint(path).state_dict
    assert list(loaded) == list(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert torch.equal(loaded[name], tensor)


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_file(WEIGHTS, path)
    loaded = load_checkpoint(path).state_dict
    assert loaded.keys() == WEIGHTS.keys()
    assert torch.equal(loaded["head.0.weight"], WEIGHTS["head.0.weight"])


def test_floating_types_become_float32_and_integers_stay(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(
        {
            "half": torch.tensor([0.5]).half(),
            "double": torch.tensor([0.25]).double(),
            "brain": torch.tensor([2.0]).bfloat16(),
            "count": torch.tensor(7),
            "turned": torch.arange(6.0).reshape(2, 3).T,
        },
        path,
    )
    loaded = load_checkpoint(path).state_dict
    assert [loaded[name].dtype for name in ("half", "double", "brain")] == [torch.float32] * 3
    assert loaded["count"].dtype == torch.int64
    assert loaded["turned"].is_contiguous()


def test_a_name_of_another_kind_is_told_where_to_go(tmp_path: Path) -> None:
    for name, advice in (("network.onnx", "daq-deploy quantize"), ("network.h5", "expected .pt, .pth or .safetensors")):
        (tmp_path / name).write_bytes(b"content")
        with pytest.raises(CheckpointError, match=advice):
            load_checkpoint(tmp_path / name)
