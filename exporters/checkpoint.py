"""Reading checkpoints without running what is in them.

Only plain tensors come out: PyTorch's `weights_only` unpickler and safetensors run no code. Files that hold programs
(TorchScript, torch.export) or pickled Python objects are refused, each with a line that says what to do.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from daq_deploy.errors import CheckpointError
from daq_deploy.trained_quantizers import TrainedQuantizers

StateDict = dict[str, Tensor]

_PICKLED = (".pt", ".pth")
SUFFIXES = (*_PICKLED, ".safetensors")
"""Of the files that are read and written."""

_WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys under which trainers put a state_dict; the averaged weights come before the last ones."""

TRAINED_KEY = "daq.trained_quantizers"
"""Under which a fine-tuned checkpoint holds its quantizers: a string beside the weights, or metadata of safetensors."""

_SAVE_STATE_DICT = "save the weights alone: torch.save(model.state_dict(), ...)"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds."""

    state_dict: StateDict
    """Tensors by name, on the CPU; floating point ones as float32."""
    trained: TrainedQuantizers | None
    """The quantizers with which the network was fine-tuned; None where it was not."""


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a `.pt`, `.pth` or `.safetensors` file.

    A state_dict wrapped under `params_ema`, `params`, `state_dict` or `model` is unwrapped, and the `module.` that
    DataParallel puts before every name is taken off.

    Raises:
        CheckpointError: the file is missing, damaged, holds anything but tensors and what fine-tuning left, or holds NaN or
            infinite weights.
    """
    content = _read(path)
    state_dict = _strip_data_parallel(_unwrap(path, content))
    record = content.get(TRAINED_KEY) if isinstance(content, Mapping) else None
    try:
        trained = None if record is None else TrainedQuantizers.from_json(str(record))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint({name: _plain(path, name, tensor) for name, tensor in state_dict.items()}, trained)


def save_fine_tuned(path: Path, state_dict: StateDict, trained: TrainedQuantizers) -> None:
    """Write a checkpoint and the quantizers it was trained with, in the format of the path's suffix."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={TRAINED_KEY: trained.to_json()})
    else:
        torch.save({"params": tensors, TRAINED_KEY: trained.to_json()}, path)


def _read(path: Path) -> object:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; copy or download it again")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PICKLED:
        return _read_pickle(path)
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path}: is an ONNX file already; use `daq-deploy quantize`")
    raise CheckpointError(f"{path}: not a checkpoint by its name; expected .pt, .pth or .safetensors")


def _read_safetensors(path: Path) -> dict[str, object]:
    """Return what a file holds, laid out as `save_fine_tuned` lays out a pickled one."""
    try:
        with safe_open(path, framework="pt") as file:
            return {"params": {name: file.get_tensor(name) for name in file.keys()}} | (file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({_first_line(error)}); copy or download it again"
        ) from error


def _read_pickle(path: Path) -> object:
    _refuse_programs(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what fails to load is reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names the object it refused: "Unsupported global: GLOBAL module.name was not an allowed global".
        refused = re.search(r"GLOBAL (\S*\w)\s", str(error))
        if refused is None:
            raise _damaged(path) from error
        raise CheckpointError(
            f"{path}: holds a pickled {refused[1]}, and unpickling that can run code; {_SAVE_STATE_DICT}"
        ) from error
    except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
        raise _damaged(path) from error


def _refuse_programs(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _damaged(path) from error
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        raise CheckpointError(f"{path}: a TorchScript archive, which holds a program; {_SAVE_STATE_DICT}")
    if "archive_format" in members or any(name.startswith("models/") for name in members):
        raise CheckpointError(f"{path}: a torch.export archive, which holds a program; {_SAVE_STATE_DICT}")


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: damaged, or not a PyTorch checkpoint; copy or download it again")


def _unwrap(path: Path, content: object) -> Mapping[str, Any]:
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                return _unwrap(path, content[wrapper])
        if any(isinstance(value, Tensor) for value in content.values()):
            return content
        held = f"a dictionary of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    else:
        held = f"an object of type {type(content).__name__}"
    raise CheckpointError(f"{path}: holds no tensors by name, but {held}; {_SAVE_STATE_DICT}")


def _strip_data_parallel(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    names = {str(name): value for name, value in state_dict.items()}
    while names and all(name.startswith("module.") for name in names):
        names = {name.removeprefix("module."): value for name, value in names.items()}
    return names


def _plain(path: Path, name: str, tensor: object) -> Tensor:
    """Return a tensor as float32 (integers as they are) after looking for what no network can be built from."""
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"{path}: {name} is of type {type(tensor).__name__}, not a tensor; {_SAVE_STATE_DICT}")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise CheckpointError(f"{path}: {name} is not a dense real tensor; {_SAVE_STATE_DICT}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        # Stride 0 lets a file of a few bytes claim a tensor of any size.
        raise CheckpointError(f"{path}: {name} claims {tensor.numel()} values, more than the file holds")
    if not tensor.is_floating_point():
        return tensor
    values = tensor.detach().to(torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise CheckpointError(
            f"{path}: {name} holds NaN or infinite values; use a checkpoint from before they appeared"
        )
    return values.contiguous()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


__all__ = ["SUFFIXES", "TRAINED_KEY", "Checkpoint", "StateDict", "load_checkpoint", "save_fine_tuned"]
