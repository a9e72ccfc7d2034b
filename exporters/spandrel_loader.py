"""Architectures that the optional package spandrel knows (https://github.com/chaiNNer-org/spandrel)."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from torch import nn

from daq_deploy.errors import CheckpointError

from .architectures.base import ArchitectureDescription
from .checkpoint import StateDict

VALUE_RANGE = 1.0
"""spandrel's networks read and write pixel values 0..1."""

REWRITES_ITS_WEIGHTS = frozenset({"SPAN"})
"""Networks whose forward pass assigns to their weights' `.data`: torch.export (2.13) crashes the process on them."""


def is_installed() -> bool:
    """Return whether spandrel can be imported."""
    return importlib.util.find_spec("spandrel") is not None


def load(
    path: Path, state_dict: StateDict, value_range: float | None, unknown: str
) -> tuple[nn.Module, ArchitectureDescription]:
    """Build the network of a checkpoint whose tensors were read already.

    Args:
        path: the checkpoint, for messages.
        state_dict: its tensors.
        value_range: largest pixel value if the user states one, else 1.
        unknown: what to say of an architecture that spandrel does not know either.

    Raises:
        CheckpointError: spandrel does not know the architecture, or it is no RGB super-resolution network, or one that
            torch.onnx cannot export.
    """
    spandrel = _import(path)
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_state_dict(state_dict)
    except spandrel.UnsupportedModelError as error:
        raise CheckpointError(f"{path}: {unknown}; spandrel does not know it either") from error
    except Exception as error:  # an adapter of spandrel met weights it did not expect
        raise CheckpointError(f"{path}: spandrel cannot build it: {_first_line(error)}") from error
    name = str(found.architecture.name)
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise CheckpointError(f"{path}: {name} does not map an RGB image to an RGB image")
    if name in REWRITES_ITS_WEIGHTS:
        raise CheckpointError(
            f"{path}: {name} rewrites its own weights as it runs, which torch.onnx cannot export; "
            "export it to ONNX by its own code and use `daq-deploy quantize`"
        )
    return found.model, ArchitectureDescription(name, int(found.scale), value_range or VALUE_RANGE, {})


def _import(path: Path) -> Any:
    try:
        return importlib.import_module("spandrel")
    except Exception as error:  # RuntimeError, among others, where torchvision and torch do not match
        raise CheckpointError(
            f"{path}: spandrel is installed but cannot be imported ({_first_line(error)}); reinstall it and torchvision"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


__all__ = ["REWRITES_ITS_WEIGHTS", "VALUE_RANGE", "is_installed", "load"]
