"""Run everything that a report page shows: pictures, figures, layers, channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from os.path import commonprefix
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.calibration import Progress
from daq_deploy.config import DaqConfig
from daq_deploy.diagnosis import diagnose_file
from daq_deploy.errors import ImageError, ModelError
from daq_deploy.evaluation import Scores, model_names, score
from daq_deploy.files import sha256_of
from daq_deploy.float_network import read_float_of
from daq_deploy.html_report import DaqNetwork, Measured, ReportContent, Version
from daq_deploy.metrics import crop_to_multiple, psnr, resize_bicubic
from daq_deploy.metrics.pixels import Pixels
from daq_deploy.model_file import model_bytes, read_proto
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.passes.graph import convolutions
from daq_deploy.passes.plan import read_layers
from daq_deploy.probe import part_of
from daq_deploy.validation import Validation, onnx_reference

from .benchmark import STEADY_VARIATION, Benchmark, measure
from .channel_ranges import channel_ranges
from .executor import OrtExecutor
from .images import read_rgb
from .session import Session
from .upscaler import Upscaler

_CONVENTION = "output rounded to 8 bits, Y of BT.601 (16..235), SSIM with an 11×11 Gaussian window"


@dataclass(frozen=True)
class NamedFile:
    """A DAQ file and what the page calls it."""

    name: str
    path: Path


def named_files(paths: Sequence[Path], alone: bool) -> list[NamedFile]:
    """Give DAQ files names that are short: what tells their own apart, "w8a8" and "w4a4" for "edsr_w8a8" and "edsr_w4a4".

    Args:
        paths: the files.
        alone: nothing else will be on the page, so that one file can be called by its bits.

    Raises:
        ModelError: a file cannot be read, or is no DAQ file.
    """
    models = [_read_daq(path) for path in paths]
    names = [name.removesuffix(".onnx") for name in model_names(list(paths))]
    if len(paths) == 1 and alone:
        config = DaqConfig.from_json(models[0].metadata_props["daq.config"])
        weights, activations = config.weight_bits, config.activation_bits
        names = [f"{weights} bits" if weights == activations else f"W{weights}A{activations}"]
    elif names:
        common = commonprefix(names)  # noqa: RUF071  names, not paths
        common = common[: max(map(common.rfind, "_-./")) + 1]
        short = [name.removeprefix(common) for name in names]
        names = short if len(names) > 1 and all(short) else names
    return [NamedFile(name, path) for name, path in zip(names, paths, strict=True)]


@dataclass(frozen=True)
class Pictures:
    """What the networks run on."""

    low: Pixels
    """uint8 (H, W, 3)."""
    high: Pixels | None
    """The original, uint8 (scale * H, scale * W, 3), if there is one."""
    description: str


def read_pictures(image: Path | None, original: Path | None, scale: int) -> Pictures:
    """Read the picture to upscale and its original.

    Args:
        image: the picture; None makes it from the original by MATLAB's bicubic.
        original: the high-resolution picture; its bottom and right are cut to whole multiples of the scale.
        scale: of the networks.

    Raises:
        ImageError: a picture cannot be read, or the two do not belong together.
    """
    high = None if original is None else crop_to_multiple(read_rgb(original), scale)
    if image is not None:
        low = read_rgb(image)
        if high is not None and high.shape[:2] != (low.shape[0] * scale, low.shape[1] * scale):
            raise ImageError(
                f"{original}: has {high.shape[1]}x{high.shape[0]} pixels at whole multiples of {scale}; the original of "
                f"{image} has {low.shape[1] * scale}x{low.shape[0] * scale}"
            )
        return Pictures(low, high, f"{image.name}, {low.shape[1]}×{low.shape[0]} pixels")
    if high is None or original is None or 0 in high.shape:
        raise ImageError(f"{original}: is smaller than {scale}x{scale} pixels; give a larger picture")
    low = resize_bicubic(high, 1 / scale)
    return Pictures(low, high, f"{original.name} reduced to {low.shape[1]}×{low.shape[0]} pixels by MATLAB’s bicubic")


def collect(
    float_path: Path,
    name: str,
    files: Sequence[NamedFile],
    pictures: Pictures,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    progress: Progress = lambda title, share: None,
) -> ReportContent:
    """Run the networks and return what the page shows.

    Args:
        float_path: the float ONNX file.
        name: what the page calls the network.
        files: the DAQ files that were made from it, at least one.
        pictures: what they run on.
        provider: `cpu` or `cuda`.
        threads: threads within a node; None leaves it to ONNX Runtime.
        progress: told what is being done, and the share that is done.

    Raises:
        ModelError: a file cannot be read or run, is no DAQ file, or was not made from this float network.
        ImageError: the original is too small to be compared with.
    """
    low, high = pictures.low, pictures.high
    models = [_read_daq(file.path) for file in files]
    with Upscaler(float_path, provider, threads) as upscaler:
        scale = upscaler.scale
        truth = upscaler.upscale(low)

    def versioned(name: str, kind: str, pixels: Pixels, measured: Measured | None) -> Version:
        scores: Scores | None = None if high is None or kind == "original" else score(pixels, high, scale)
        distance = None if kind in ("original", "float") else psnr(pixels, truth)
        return Version(name, kind, pixels, distance, scores, measured)  # type: ignore[arg-type]

    upscaled = []
    for index, file in enumerate(files):
        progress("Upscaling", index / len(files))
        with Upscaler(file.path, provider, threads) as upscaler:
            if upscaler.scale != scale:
                raise ModelError(
                    f"{file.path}: upscales x{upscaler.scale}, {float_path.name} x{scale}: was it made from it?"
                )
            upscaled.append(upscaler.upscale(low))
    benchmark = measure(
        [float_path, *(file.path for file in files)],
        provider=provider,
        threads=threads,
        progress=lambda share: progress("Measuring time and memory", share),
    )
    measured = _measured(benchmark)
    versions = [] if high is None else [versioned("original", "original", high, None)]
    versions.append(versioned("bicubic", "bicubic", resize_bicubic(low, scale), None))
    versions.append(versioned("float", "float", truth, measured[0]))
    versions += [
        versioned(file.name, "daq", pixels, own)
        for file, pixels, own in zip(files, upscaled, measured[1:], strict=True)
    ]
    centre = _worst_place(upscaled, truth, scale)
    networks = []
    for index, (file, model) in enumerate(zip(files, models, strict=True)):
        share = _share_of(progress, index, len(files))
        networks.append(_network(file, model, float_path, pictures, centre, share, provider, threads))
    return ReportContent(
        network=name,
        picture=pictures.description,
        scale=scale,
        versions=tuple(versions),
        networks=tuple(networks),
        score_convention=None if high is None else f"{scale} border pixels cut, {_CONVENTION}",
        conditions=_conditions(benchmark),
        environment=_environment(benchmark, float_path, name),
    )


def _read_daq(path: Path) -> ir.Model:
    model = ir.from_proto(read_proto(path))
    if "daq.config" not in model.metadata_props:
        raise ModelError(f"{path}: is a float file; after the float network name DAQ files made from it, or --bits")
    return model


def _network(
    file: NamedFile,
    model: ir.Model,
    float_path: Path,
    pictures: Pictures,
    centre: tuple[float, float],
    progress: Progress,
    provider: str,
    threads: int | None,
) -> DaqNetwork:
    layers = read_layers(model.metadata_props.get("daq.layers", "[]"))
    reference = read_float_of(model, float_path)
    execute = OrtExecutor(model.opset_imports[""], threads)
    with (
        Session(file.path, threads=threads, native=False) as session,
        Session(model_bytes(reference), threads=threads) as float_session,
    ):
        probe = part_of(session, pictures.low, pictures.description, centre)
        diagnosis = diagnose_file(model, reference, (session, float_session), probe, execute, progress)
    open_session = partial(Session, threads=threads, native=False)
    proof = Validation(file.path, onnx_reference(float_path), probe, open_session).run(provider)
    blocks = find_blocks(model)
    found = channel_ranges(file.path, probe, blocks, threads)
    by_node = {node: ranges for block, ranges in zip(blocks, found, strict=True) for node in block.convolutions}
    return DaqNetwork(
        name=file.name,
        file=file.path.name,
        sha256=sha256_of(file.path),
        config=DaqConfig.from_json(model.metadata_props["daq.config"]),
        layers=layers,
        diagnosis=diagnosis,
        ranges=tuple(by_node.get(node) for node in convolutions(model.graph)),
        checks=tuple(level for level in proof.levels if level.outcome != "skipped"),
    )


def _worst_place(pictures: Sequence[Pixels], truth: Pixels, scale: int) -> tuple[float, float]:
    """Return row and column, in the small picture, around which the pictures are furthest from float."""
    error = sum(np.square(pixels.astype(np.float64) - truth).mean(axis=2) for pixels in pictures)
    blocks = _block_sums(np.asarray(error), 32)
    row, column = np.unravel_index(int(blocks.argmax()), blocks.shape)
    return (32 * row + 16) / scale, (32 * column + 16) / scale


def _block_sums(values: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Return the sums over squares of a map (H, W)."""
    rows = np.add.reduceat(values, np.arange(0, values.shape[0], side), axis=0)
    sums: npt.NDArray[np.float64] = np.add.reduceat(rows, np.arange(0, values.shape[1], side), axis=1)
    return sums


def _measured(benchmark: Benchmark) -> list[Measured]:
    return [
        Measured(model.file_bytes, model.timing.p50, model.timing.ratio, model.peak_memory_bytes)
        for model in benchmark.models
    ]


def _conditions(benchmark: Benchmark) -> str:
    varied = max(model.timing.variation for model in benchmark.models)
    if varied <= STEADY_VARIATION:
        return benchmark.conditions()
    rough = f"run times varied by up to {varied:.0%}: measure again on an idle machine"
    return f"{benchmark.conditions()}; {rough}"


def _environment(benchmark: Benchmark, float_path: Path, name: str) -> tuple[tuple[str, str], ...]:
    machine, session = benchmark.machine, benchmark.models[-1].session
    entries = [
        ("daq-deploy", version("daq-deploy")),
        ("ONNX Runtime", f"{benchmark.onnxruntime_version}, {session.provider}"),
        ("Native kernels", session.instruction_set or f"not used: {session.without_native}"),
        ("Processor", f"{machine.cpu}, {machine.cores} logical processors"),
        ("Instruction sets", ", ".join(machine.instruction_sets) or "not listed by the system"),
        ("GPU", ", ".join(machine.gpus)),
        ("System", f"{machine.operating_system}, Python {machine.python}"),
        (f"{name}, float", f"sha256 {sha256_of(float_path)}"),
    ]
    return tuple((key, value) for key, value in entries if value)


def _share_of(progress: Progress, index: int, total: int) -> Progress:
    """Return what reports one network's progress as a part of the whole."""

    def report(title: str, share: float) -> None:
        progress(title, (index + share) / total)

    return report


__all__ = ["NamedFile", "Pictures", "collect", "named_files", "read_pictures"]
