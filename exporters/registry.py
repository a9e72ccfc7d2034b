"""From a checkpoint to its network: the known architectures, and those of spandrel where it is installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from torch import nn

from daq_deploy.errors import CheckpointError, OptionError
from daq_deploy.trained_quantizers import TrainedQuantizers

from . import spandrel_loader
from .architectures.base import Architecture, ArchitectureDescription, Shapes, Undetectable
from .architectures.edsr import EDSRArchitecture
from .architectures.rdn import RDNArchitecture
from .architectures.srresnet import SRResNetArchitecture
from .checkpoint import StateDict, load_checkpoint

ARCHITECTURES: tuple[Architecture, ...] = (EDSRArchitecture(), RDNArchitecture(), SRResNetArchitecture())
"""The architectures this package knows by itself."""

VALUE_RANGES = (1.0, 255.0)
"""The pixel values that super-resolution code works on."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, in evaluation mode on the CPU, and what it is."""

    module: nn.Module
    description: ArchitectureDescription
    trained: TrainedQuantizers | None = None
    """The quantizers of a fine-tuned checkpoint."""


def load_network(path: Path, undetectable: Undetectable) -> LoadedNetwork:
    """Read a checkpoint, find its architecture and build it.

    Args:
        path: .pt, .pth or .safetensors.
        undetectable: as the user states it; a fine-tuned checkpoint has its own.

    Raises:
        CheckpointError: the checkpoint cannot be read, its architecture is unknown, or its weights do not fit it.
        OptionError: the value range is not 1 or 255, contradicts the weights, or the architecture has no res_scale.
    """
    if undetectable.value_range not in (None, *VALUE_RANGES):
        raise OptionError(f"--value-range {undetectable.value_range:g}: choose 1 or 255")
    checkpoint = load_checkpoint(path)
    state_dict, trained = checkpoint.state_dict, checkpoint.trained
    if trained is not None:
        undetectable = Undetectable(trained.parameters["res_scale"], trained.parameters["value_range"])
    shapes = {name: tensor.shape for name, tensor in state_dict.items()}
    architecture = next((known for known in ARCHITECTURES if known.detect(shapes)), None)
    if architecture is None:
        if not spandrel_loader.is_installed():
            raise CheckpointError(f"{path}: {_unknown(shapes)}; `pip install spandrel` adds about 40 more")
        module, description = spandrel_loader.load(path, state_dict, undetectable.value_range, _unknown(shapes))
    else:
        module, description = _load_known(path, architecture, state_dict, undetectable)
    if undetectable.res_scale != 1.0 and not (architecture and architecture.has_res_scale):
        raise OptionError(f"--res-scale {undetectable.res_scale:g}: {description.name} has no residual scale")
    return LoadedNetwork(module.eval(), description, trained)


def _load_known(
    path: Path, architecture: Architecture, state_dict: StateDict, undetectable: Undetectable
) -> tuple[nn.Module, ArchitectureDescription]:
    shapes = {name: tensor.shape for name, tensor in state_dict.items()}
    try:
        parameters = architecture.read_parameters(shapes)
        if architecture.has_res_scale:
            parameters["res_scale"] = undetectable.res_scale
        with torch.device("meta"):  # no memory for weights that a damaged checkpoint may claim
            module = architecture.build(parameters)
    except (IndexError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: has the parameter names of {architecture.name}, but not its shapes: {error}"
        ) from error
    _check_fit(path, architecture.name, module, shapes)
    module.load_state_dict(state_dict, assign=True)
    value_range = _value_range(path, architecture, state_dict, undetectable.value_range)
    return module, ArchitectureDescription(architecture.name, int(parameters["scale"]), value_range, parameters)


def _check_fit(path: Path, name: str, module: nn.Module, shapes: Shapes) -> None:
    expected = {key: tensor.shape for key, tensor in module.state_dict().items()}
    # Batch norm counts its batches, which no older checkpoint stores and no network needs.
    missing = [key for key in expected if key not in shapes and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in shapes if key not in expected]
    reshaped = [key for key in expected if key in shapes and expected[key] != shapes[key]]
    if missing:
        problem = f"{missing[0]} is missing"
    elif unexpected:
        problem = f"{unexpected[0]} has no place in it"
    elif reshaped:
        key = reshaped[0]
        problem = f"{key} has shape {_times(shapes[key])} where {_times(expected[key])} is expected"
    else:
        return
    raise CheckpointError(f"{path}: looks like {name}, but {problem}; it may be a variant that is not known")


def _value_range(path: Path, architecture: Architecture, state_dict: StateDict, stated: float | None) -> float:
    shown = architecture.read_value_range(state_dict)
    if shown is not None and stated is not None and shown != stated:
        raise OptionError(f"--value-range {stated:g}: the mean shift in {path} is that of values 0..{shown:g}")
    return shown or stated or architecture.value_range


def _unknown(shapes: Shapes) -> str:
    """Say that an architecture is unknown, and what it resembles."""
    likeness = {known.name: _likeness(shapes, known) for known in ARCHITECTURES}
    nearest = max(likeness, key=lambda name: likeness[name])
    first = ", ".join(list(shapes)[:3])
    return (
        f"unknown architecture (parameters {first}, ...); known are {', '.join(likeness)}, the nearest by parameter "
        f"names is {nearest} ({likeness[nearest]:.0%} alike)"
    )


def _likeness(shapes: Mapping[str, Any], architecture: Architecture) -> float:
    """Return how much the parameter names resemble those of an architecture, numbers apart, 0..1."""
    with torch.device("meta"):
        theirs = _without_numbers(architecture.build({}).state_dict())
    ours = _without_numbers(shapes)
    return sum(max(SequenceMatcher(None, name, other).ratio() for other in theirs) for name in ours) / len(ours)


def _without_numbers(names: Mapping[str, Any]) -> list[str]:
    return sorted({re.sub(r"\d+", "0", name) for name in names})


def _times(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "scalar"


__all__ = ["ARCHITECTURES", "VALUE_RANGES", "LoadedNetwork", "load_network"]
