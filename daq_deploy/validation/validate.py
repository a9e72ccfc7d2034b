"""The levels of proof: is the DAQ graph what it claims to be, and how far is it from the float network?

1  codes of the graph against the numpy oracle, layer by layer on the same feature maps
2  codes and output against the network quantized in PyTorch; needs a checkpoint
3  outputs across optimization levels of ONNX Runtime
4  output of the native kernels against that of the portable graph; needs the native library
5  provider against provider; needs a second one
6  the DAQ network against the float network: layers, output, benchmark pictures

Outputs of quantized networks are never compared value by value: a difference in the last place before a rounding moves a
whole step, and following layers carry it on. Codes are compared on the same feature maps, outputs by PSNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.errors import ModelError
from daq_deploy.evaluation import evaluate
from daq_deploy.files import sha256_of
from daq_deploy.image_pairs import ImagePairs
from daq_deploy.metrics import psnr
from daq_deploy.metrics.psnr import PEAK
from daq_deploy.model_file import model_bytes, read_proto
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.passes.graph import convolutions
from daq_deploy.passes.native import METADATA_KEY
from daq_deploy.passes.plan import read_layers

from .codes import Quantizer, code_outputs, compare_codes, oracle
from .fidelity import fidelity_outputs, layer_fidelity
from .report import CodeDifference, DataScores, Level, ValidationReport
from .sessions import OpenSession, batches

Image = npt.NDArray[np.float32]

MARGIN = 3.0
"""By how many dB the outputs of two correct implementations may be further apart than the DAQ and the float network.

They differ by rounding ties, which the layers that follow carry on. What that adds up to has no more power than twice the
quantization noise itself, which is 3 dB.
"""


@dataclass(frozen=True)
class TorchImplementation:
    """The quantized network in PyTorch."""

    codes: Quantizer
    output: Callable[[Image], Image]
    """From a picture to the output of the whole network."""


@dataclass(frozen=True)
class Reference:
    """The float network."""

    path: Path
    """Where it was read from: an ONNX file, or a checkpoint."""
    model: ir.Model
    torch: TorchImplementation | str
    """The quantized network in PyTorch, or why there is none."""


@dataclass(frozen=True)
class Picture:
    """What the networks run on."""

    pixels: Image
    """float32 (1, C, H, W) in 0..value_range of the DAQ file."""
    description: str


def onnx_reference(path: Path) -> Reference:
    """Return a float ONNX file as a reference; there is no PyTorch network for it.

    Raises:
        ModelError: the file cannot be read, or is a DAQ file.
    """
    model = ir.from_proto(read_proto(path))
    if "daq.config" in model.metadata_props:
        raise ModelError(f"{path}: is a DAQ file itself; give the float network it was made from")
    return Reference(path, model, "the reference is ONNX; give a checkpoint")


class Validation:
    """Compares one DAQ file with its float reference.

    Raises:
        ModelError: the file has no DAQ block.
    """

    def __init__(self, path: Path, reference: Reference, picture: Picture, open_session: OpenSession) -> None:
        self._path, self._reference, self._picture, self._open = path, reference, picture, open_session
        self._model = ir.from_proto(read_proto(path))
        if METADATA_KEY in self._model.metadata_props:
            raise ModelError(
                f"{path}: is a native graph, made by `daq-deploy fuse`; validate the DAQ file it was made from"
            )
        self._value_range = float(self._model.metadata_props.get("daq.value_range", PEAK))
        self._blocks = find_blocks(self._model)
        layers = read_layers(self._model.metadata_props.get("daq.layers", "[]"))
        nodes = convolutions(self._model.graph)
        if not self._blocks:
            raise ModelError(f"{path}: has no DAQ block; give a file that `daq-deploy quantize` or `export` wrote")
        if any(block.is_frozen for block in self._blocks):
            raise ModelError(
                f"{path}: its ranges are frozen; validate the file it was made from, and evaluate this one"
            )
        if len(layers) != len(nodes):
            raise ModelError(f"{path}: daq.layers tells of {len(layers)} convolutions, the graph has {len(nodes)}")
        self._names = {node: layer.name for node, layer in zip(nodes, layers, strict=True)}

    def run(
        self,
        provider: str = "cpu",
        second_provider: str | None = None,
        pairs: ImagePairs | None = None,
        least_psnr: float | None = None,
        progress: Callable[[str], None] = lambda title: None,
    ) -> ValidationReport:
        """Run every level.

        Args:
            provider: where the networks run, `cpu` or `cuda`.
            second_provider: the one that level 5 compares with; None skips it.
            pairs: benchmark pictures for level 6.
            least_psnr: level 6 fails where the output is further than so many dB from the float network's.
            progress: told the title of each level when it starts.

        Raises:
            ModelError: a network does not run on the picture, or the two differ in scale.
        """
        session = self._open(self._path, provider=provider, extra_outputs=fidelity_outputs(self._blocks))
        float_session = self._open(model_bytes(self._reference.model), provider=provider)
        found, truth = (runner.run(self._picture.pixels) for runner in (session, float_session))
        if found.shape != truth.shape:
            raise ModelError(
                f"{self._reference.path}: gives {truth.shape[3]}x{truth.shape[2]} pixels where {self._path} gives "
                f"{found.shape[3]}x{found.shape[2]}; it is not the network the file was made from"
            )
        distance = self._psnr(found, truth)
        needed = distance - MARGIN
        progress("Codes against the oracle")
        codes = self._codes(provider, oracle)
        levels = [_codes_level(1, "graph against the numpy oracle", codes)]
        progress("Against PyTorch")
        levels.append(self._against_torch(provider, needed))
        progress("Optimization levels")
        levels.append(self._optimization_levels(provider, needed))
        progress("Native kernels")
        levels.append(self._native(needed))
        progress("Providers")
        levels.append(self._providers(provider, second_provider, needed))
        progress("Against the float network")
        layers = layer_fidelity(session, self._picture.pixels, self._names, self._blocks, self._reference.model)
        data = None
        if pairs is not None:
            progress("Benchmark pictures")
            figures = [evaluate(runner, pairs, "").mean.psnr_y for runner in (float_session, session)]
            data = DataScores(str(pairs.folder), *figures)
        levels.append(_float_level(distance, data, least_psnr))
        return ValidationReport(
            model=str(self._path),
            reference=str(self._reference.path),
            image=self._picture.description,
            notes=self._notes(),
            levels=tuple(levels),
            codes=codes,
            layers=layers,
            output_psnr=distance,
            data=data,
        )

    def _codes(self, provider: str, quantizer: Quantizer) -> tuple[CodeDifference, ...]:
        session = self._open(self._path, provider=provider, extra_outputs=code_outputs(self._blocks))
        return compare_codes(session, self._picture.pixels, self._blocks, self._names, quantizer)

    def _against_torch(self, provider: str, least_psnr: float) -> Level:
        title, torch = "graph against PyTorch", self._reference.torch
        if isinstance(torch, str):
            return Level(2, title, "skipped", torch)
        level = _codes_level(2, title, self._codes(provider, torch.codes))
        found = self._open(self._path, provider=provider).run(self._picture.pixels)
        return self._with_output(level, found, torch.output(self._picture.pixels), least_psnr)

    def _optimization_levels(self, provider: str, least_psnr: float) -> Level:
        title = "optimization levels of ONNX Runtime"
        outputs = {}
        for optimization in ("disabled", "basic", "extended", "all"):
            session = self._open(self._path, provider=provider, optimization=optimization)
            outputs[optimization] = session.run(self._picture.pixels)
        for optimization in ("basic", "extended"):
            if not np.array_equal(outputs[optimization], outputs["disabled"], equal_nan=True):
                distance = self._psnr(outputs[optimization], outputs["disabled"])
                return Level(3, title, "failed", f"{optimization} and disabled: outputs {_apart(distance)}")
        different = self._differing_codes(provider, "disabled", "all")
        detail = f"disabled, basic and extended equal bit for bit; all: {100 * different:.2g} % of codes differ"
        return self._with_output(Level(3, title, "passed", detail), outputs["all"], outputs["disabled"], least_psnr)

    def _differing_codes(self, provider: str, *optimizations: str) -> float:
        """Return the fraction of codes in which a whole run at one optimization level differs from one at another."""
        names = code_outputs(self._blocks)
        first, second = (
            self._open(self._path, provider=provider, optimization=optimization, extra_outputs=names)
            for optimization in optimizations
        )
        different = total = 0
        for some in batches(self._blocks):
            codes = [str(block.codes.name) for block in some]
            one, other = (session.run_outputs(self._picture.pixels, codes) for session in (first, second))
            different += sum(int((one[name] != other[name]).sum()) for name in codes)
            total += sum(one[name].size for name in codes)
        return different / total

    def _native(self, least_psnr: float) -> Level:
        title = "native kernels against the portable graph"
        session = self._open(self._path, provider="cpu", native=True)
        if session.without_native:
            return Level(4, title, "skipped", session.without_native)
        outputs = [runner.run(self._picture.pixels) for runner in (session, self._open(self._path, provider="cpu"))]
        level = Level(4, title, "passed", "maps in half precision, other codes at rounding ties")
        return self._with_output(level, outputs[0], outputs[1], least_psnr)

    def _providers(self, provider: str, second: str | None, least_psnr: float) -> Level:
        if second is None:
            return Level(5, "provider against provider", "skipped", "no second provider")
        title = f"{second} against {provider}"
        level = _codes_level(5, title, self._codes(second, oracle))
        outputs = [self._open(self._path, provider=name).run(self._picture.pixels) for name in (provider, second)]
        return self._with_output(level, outputs[1], outputs[0], least_psnr)

    def _with_output(self, level: Level, found: Image, truth: Image, least_psnr: float) -> Level:
        """Add the distance between two outputs to a level, which fails where it is too large."""
        distance = self._psnr(found, truth)
        detail = f"{level.detail}; outputs {_apart(distance)}"
        if distance >= least_psnr:
            return replace(level, detail=detail)
        return replace(level, detail=f"{detail}, at least {least_psnr:.2f} dB are needed", outcome="failed")

    def _psnr(self, found: Image, truth: Image) -> float:
        return psnr(found * (PEAK / self._value_range), truth * (PEAK / self._value_range))

    def _notes(self) -> tuple[str, ...]:
        recorded = self._model.metadata_props.get("daq.source_sha256")
        if recorded in (sha256_of(self._reference.path), self._reference.model.metadata_props.get("daq.source_sha256")):
            return ()
        return (f"{self._reference.path} is not the file that {self._path} was made from (its sha256 differs)",)


def _codes_level(number: int, title: str, codes: Sequence[CodeDifference]) -> Level:
    total, ties = sum(item.codes for item in codes), sum(item.ties for item in codes)
    bad = [item for item in codes if item.wrong]
    if bad:
        worst = max(bad, key=lambda item: item.wrong / item.codes)
        layers = ", ".join(worst.layers)
        detail = f"{len(bad)} of {len(codes)} blocks differ beyond ties; {layers}: {worst.wrong} of {worst.codes} codes"
        return Level(number, title, "failed", detail)
    return Level(
        number, title, "passed", f"{total} codes of {len(codes)} blocks; {ties} differ, all of them rounding ties"
    )


def _float_level(distance: float, data: DataScores | None, least_psnr: float | None) -> Level:
    detail = f"outputs {_apart(distance)}"
    if data is not None:
        detail += f"; PSNR-Y {data.float_psnr_y:.3f} -> {data.daq_psnr_y:.3f} dB, drop {data.drop:.3f} dB"
    too_far = math.isnan(distance) or (least_psnr is not None and distance < least_psnr)
    if too_far and least_psnr is not None:
        detail += f"; --min-psnr {least_psnr:g}"
    return Level(6, "DAQ against float", "failed" if too_far else "passed", detail)


def _apart(distance: float) -> str:
    return "equal" if distance == math.inf else f"{distance:.2f} dB apart"


__all__ = ["Picture", "Reference", "TorchImplementation", "Validation", "onnx_reference"]
