"""From a checkpoint to a float ONNX graph that is proven to compute the same."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from daq_deploy.errors import CheckFailed, CheckpointError
from daq_deploy.files import sha256_of
from daq_deploy.model_file import model_bytes
from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.passes.strip_metadata import StripMetadata
from daq_deploy.runner import Runner
from daq_deploy.trained_quantizers import TrainedQuantizers

from .architectures.base import ArchitectureDescription, Undetectable
from .registry import load_network

CHECK_SIZES = ((17, 23), (32, 9), (41, 40))
"""Heights and widths, odd ones among them, at which a graph is compared with PyTorch."""

LEAST_PSNR = 80.0
"""What two float32 implementations of a network reach at least: dB against the largest value of the output.

Sums in another order cost some 1e-6 of the largest value (120 dB); a wrong layer or border is below 60 dB.
"""


@dataclass(frozen=True)
class ExportedModel:
    """A float network as ONNX and as PyTorch."""

    model: ir.Model
    """Input `input` (n, 3, h, w), output `output`, float32 in 0..value_range; n, h and w are free."""
    module: nn.Module
    """As the checkpoint has it; in the graph, batch norm is folded into the convolutions before it."""
    architecture: ArchitectureDescription
    trained: TrainedQuantizers | None = None
    """The quantizers of a fine-tuned checkpoint."""


def export_float(
    checkpoint: Path, *, res_scale: float = 1.0, value_range: float | None = None, opset: int = 21
) -> ExportedModel:
    """Build the network of a checkpoint and write it as an ONNX graph.

    Args:
        checkpoint: .pt, .pth or .safetensors.
        res_scale: residual scaling of EDSR, which no checkpoint shows but a fine-tuned one, whose own is taken.
        value_range: largest pixel value of input and output, 255 or 1; None takes what the architecture's code uses, and a
            fine-tuned checkpoint has its own.
        opset: of the graph.

    Raises:
        CheckpointError: the checkpoint cannot be read, its architecture is unknown, or it cannot be exported.
        OptionError: res_scale or value_range contradicts the network.
    """
    network = load_network(checkpoint, Undetectable(res_scale, value_range))
    try:
        model = float_graph(network.module, network.description.value_range, opset, network.description.name)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    model.metadata_props["daq.architecture"] = network.description.to_json()
    model.metadata_props["daq.source_sha256"] = sha256_of(checkpoint)
    return ExportedModel(model, network.module, network.description, network.trained)


def float_graph(module: nn.Module, value_range: float, opset: int = 21, name: str = "the network") -> ir.Model:
    """Write a network as a float ONNX graph, its batch norm folded as far as PyTorch sees it.

    Args:
        module: from (N, 3, H, W) to (N, 3, scale * H, scale * W), float32, any N, H and W.
        value_range: largest pixel value of input and output.
        opset: of the graph.
        name: what an error calls it.

    Raises:
        CheckpointError: torch.onnx cannot export it.
    """
    try:
        model = _to_onnx(fold_batch_norm(module), opset)
    except Exception as error:  # torch.onnx raises many kinds for what it cannot trace
        raise CheckpointError(f"torch.onnx cannot export {name}: {str(error).partition(chr(10))[0]}") from error
    StripMetadata()(model)
    model.metadata_props["daq.value_range"] = str(value_range)
    return model


def _to_onnx(module: nn.Module, opset: int) -> ir.Model:
    example = torch.zeros(2, 3, 32, 24)  # sizes 0 and 1 would be taken as fixed
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: "n", 2: "h", 3: "w"},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("no program came out")
    return program.model


def check_against_torch(exported: ExportedModel, open_session: Callable[[bytes], Runner]) -> None:
    """Compare the graph with PyTorch on smooth pictures of three odd sizes.

    Args:
        exported: what to compare.
        open_session: opens the bytes of an ONNX file.

    Raises:
        CheckFailed: the outputs differ by more than float32 arithmetic explains; names the size and the figure.
    """
    runner = open_session(model_bytes(exported.model))
    for height, width in CHECK_SIZES:
        psnr = _psnr_against_torch(exported, runner, height, width)
        if not psnr >= LEAST_PSNR:
            raise CheckFailed(
                f"the exported graph differs from PyTorch at {width}x{height} pixels: "
                f"PSNR {psnr:.1f} dB, below {LEAST_PSNR:.0f} dB"
            )


def check_quantized(exported: ExportedModel, quantized: bytes, open_session: Callable[[bytes], Runner]) -> float:
    """Run a quantized graph once on a smooth picture and compare it with the float network it was made from.

    Returns:
        PSNR in dB between the two outputs.

    Raises:
        CheckFailed: the output has another shape, or NaN or infinite values.
    """
    return _psnr_against_torch(exported, open_session(quantized), *CHECK_SIZES[-1])


def _psnr_against_torch(exported: ExportedModel, runner: Runner, height: int, width: int) -> float:
    value_range = exported.architecture.value_range
    size = f"at {width}x{height} pixels"
    image = _smooth_image(height, width) * value_range
    with torch.inference_mode():
        expected = exported.module(image.clone())  # some networks overwrite what they read
    found = torch.from_numpy(np.array(runner.run(image.numpy())))
    if not bool(torch.isfinite(expected).all()):
        raise CheckFailed(f"{exported.architecture.name}: PyTorch itself gives NaN or infinite values {size}")
    if found.shape != expected.shape:
        raise CheckFailed(f"the graph gives shape {tuple(found.shape)} {size}, PyTorch {tuple(expected.shape)}")
    if not bool(torch.isfinite(found).all()):
        raise CheckFailed(f"the graph gives NaN or infinite values {size}, PyTorch does not")
    return _psnr(found, expected, value_range)


def _smooth_image(height: int, width: int) -> Tensor:
    """Return slow waves (1, 3, height, width) in 0..1; on noise some SR networks leave the range of a picture."""
    rows = torch.linspace(0, 6, height).reshape(1, height, 1)
    columns = torch.linspace(0, 6, width).reshape(1, 1, width)
    phases = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1)
    return (0.5 + 0.25 * torch.sin(rows + phases) + 0.25 * torch.cos(columns - phases)).unsqueeze(0)


def _psnr(found: Tensor, expected: Tensor, value_range: float) -> float:
    """Return the PSNR in dB of `found` against the largest value of `expected`, or of a picture if that is larger."""
    peak = max(value_range, expected.abs().max().item())
    mean_square = (found.double() - expected.double()).square().mean()
    return float(10 * torch.log10(peak**2 / mean_square))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch.onnx prints, logs and warns of from the terminal: nothing in it is for the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


__all__ = [
    "CHECK_SIZES",
    "LEAST_PSNR",
    "ExportedModel",
    "check_against_torch",
    "check_quantized",
    "export_float",
    "float_graph",
]
