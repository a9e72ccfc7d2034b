"""Fine-tune a network with its quantizers in place."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from lightning_fabric import Fabric
from torch import nn

from daq_deploy.api import quantize
from daq_deploy.calibration import Progress
from daq_deploy.config import DaqConfig
from daq_deploy.errors import CheckFailed, OptionError
from daq_deploy.exporters.export import float_graph
from daq_deploy.image_pairs import ImagePair, find_image_pairs
from daq_deploy.metrics.resize import crop_to_multiple, resize_bicubic
from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.quantization import Quantized
from daq_deploy.runtime.images import read_rgb
from daq_deploy.trained_quantizers import TrainedQuantizers

from .network import TrainableNetwork
from .options import TrainingOptions
from .patches import Patches, find_pictures
from .state import RunState
from .training import Point, Training

HELD_OUT = 8
"""Training pictures that are kept for validation where no folder is given; the middle HELD_OUT_SIDE pixels of each."""
HELD_OUT_SIDE = 480


@dataclass(frozen=True)
class FineTuned:
    """A network that was fine-tuned, and the quantizers it was trained with."""

    module: nn.Module
    """The float network with its new weights; batch norm is folded."""
    trained: TrainedQuantizers
    history: tuple[Point, ...]
    """One point a validation; the first is before training."""

    def quantized(self) -> Quantized:
        """Return the DAQ graph: what the network computed at the end of its training."""
        graph = float_graph(self.module, self.trained.parameters["value_range"])
        return quantize(graph, self.trained.config, trained=self.trained)


@dataclass(frozen=True)
class Listener:
    """Who is told how it goes."""

    report: Callable[[Point], None] = lambda point: None
    progress: Progress = lambda title, share: None
    warn: Callable[[str], None] = lambda line: None


def finetune(
    module: nn.Module,
    config: DaqConfig,
    data: Path,
    state_path: Path,
    *,
    value_range: float = 255.0,
    res_scale: float = 1.0,
    options: TrainingOptions | None = None,
    validation: Path | None = None,
    resume: bool = False,
    log: Path | None = None,
    fabric: Fabric | None = None,
    listener: Listener | None = None,
) -> FineTuned:
    """Fine-tune a network with its quantizers in place.

    Bits, ranges and weights are first chosen without training, on the same pictures.

    Args:
        module: from (N, 3, H, W) to (N, 3, scale * H, scale * W), float32; every convolution an nn.Conv2d. It is left as it
            is.
        config: what is asked, with range rule `deploy`.
        data: folder of high-resolution pictures, and folders of them in it.
        state_path: file for the state of the run, removed at the end.
        value_range: largest pixel value of input and output, 255 or 1.
        res_scale: that EDSR was built with; travels with the quantizers.
        options: of the training.
        validation: pictures as for `evaluate`; None holds some of `data` out.
        resume: go on from the state of a run that was stopped.
        log: folder for TensorBoard's curves.
        fabric: launched; None is one process on the CPU.
        listener: told how it goes.

    Raises:
        OptionError: there are no pictures, none is as large as a patch, or the configuration cannot be trained.
        CheckpointError: the network cannot be exported, or there is no state to go on from.
        CheckFailed: the loss is not finite.
    """
    options, listener = options or TrainingOptions(), listener or Listener()
    if fabric is None:
        fabric = Fabric(accelerator="cpu", devices=1)
        fabric.launch()
    teacher = fold_batch_norm(module)
    graph = float_graph(teacher, value_range)
    with torch.inference_mode():
        scale = teacher(torch.zeros(1, 3, 32, 32)).shape[-1] // 32
    pictures = find_pictures(data)
    paths, held_out = (pictures, []) if validation is not None else _hold_out(pictures, listener)
    patches = Patches(paths, scale, options.patch, options.seed, read_rgb, listener.warn)
    if validation is not None:
        pairs = list(find_image_pairs(validation, scale, read_rgb))
    else:
        pairs = [_middle(path, scale) for path in held_out]
    identity = _identity(teacher, config, options, pictures, validation)
    resumed = RunState.load(state_path, identity) if resume else None
    network = _prepare(teacher, graph, config, data, value_range, res_scale, listener)
    with ExitStack() as stack:
        training = Training(
            fabric,
            network,
            copy.deepcopy(teacher),
            patches,
            pairs,
            scale,
            options,
            identity,
            state_path,
            listener.report,
        )
        if log is not None and fabric.is_global_zero:
            from tensorboardX import SummaryWriter

            training.log = stack.enter_context(SummaryWriter(str(log))).add_scalar
        try:
            history = training.run(resumed)
        except CheckFailed as error:
            raise NotFinite(str(error), _result(teacher, network, [])) from error
    if fabric.is_global_zero:
        state_path.unlink(missing_ok=True)
    return _result(teacher, network, history)


class NotFinite(CheckFailed):
    """Training stopped at a loss that is not finite; `best` is what it had reached."""

    def __init__(self, message: str, best: FineTuned) -> None:
        super().__init__(message)
        self.best = best


def _result(teacher: nn.Module, network: TrainableNetwork, history: Sequence[Point]) -> FineTuned:
    plain = copy.deepcopy(teacher).cpu()
    plain.load_state_dict(network.plain_state())
    return FineTuned(plain, network.trained(), tuple(history))


def _prepare(
    teacher: nn.Module,
    graph: ir.Model,
    config: DaqConfig,
    data: Path,
    value_range: float,
    res_scale: float,
    listener: Listener,
) -> TrainableNetwork:
    """Choose ranges, bits and weights without training, and put them into the network: even levels, no error feedback."""
    config = replace(config, levels="even", error_feedback=False)
    quantized = quantize(graph, config, calibration=data, progress=listener.progress)
    parameters = {"value_range": value_range, "res_scale": res_scale}
    return TrainableNetwork.of(teacher, graph, quantized, replace(config, weight_rule="nearest"), parameters)


def _hold_out(pictures: list[Path], listener: Listener) -> tuple[list[Path], list[Path]]:
    """Return the pictures to train on, and those to validate on."""
    if len(pictures) < 2 * HELD_OUT:
        listener.warn(
            "so few pictures that they are used for training and validation; give --validation for an honest figure"
        )
        return pictures, pictures[:HELD_OUT]
    held_out = pictures[:: len(pictures) // HELD_OUT][:HELD_OUT]
    return [path for path in pictures if path not in held_out], held_out


def _middle(path: Path, scale: int) -> ImagePair:
    picture = read_rgb(path)
    top, left = (max(size - HELD_OUT_SIDE, 0) // 2 for size in picture.shape[:2])
    high = crop_to_multiple(picture[top : top + HELD_OUT_SIDE, left : left + HELD_OUT_SIDE], scale)
    if min(high.shape[:2]) < 8 * scale:
        raise OptionError(f"{path}: is too small to validate on; take it out of the folder")
    return ImagePair(path.name, resize_bicubic(np.ascontiguousarray(high), 1 / scale), high)


def _identity(
    module: nn.Module, config: DaqConfig, options: TrainingOptions, pictures: list[Path], validation: Path | None
) -> str:
    """Return a digest of what determines the numbers of a run."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    names = [path.name for path in pictures]
    digest.update(json.dumps([config.to_json(), asdict(options), names, str(validation)]).encode())
    return digest.hexdigest()


__all__ = ["HELD_OUT", "FineTuned", "Listener", "NotFinite", "finetune"]
