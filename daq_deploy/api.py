"""The Python interface: the rooms of the house wired together. The command line calls these functions and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from .calibration import (
    Calibration,
    Progress,
    calibration_mosaics,
    drawn_picture,
    held_out_pictures,
    mosaics_of_weights,
    synthetic_mosaics,
)
from .config import DaqConfig
from .errors import OptionError
from .quantization import INT2_OPSET, OPSET, Quantized
from .quantization import quantize as quantize_graph

if TYPE_CHECKING:
    from .evaluation import Comparison
    from .fusion import Fused
    from .targets import Attempt
    from .trained_quantizers import TrainedQuantizers
    from .validation import ValidationReport


def fuse(model: str | Path | ir.Model) -> Fused:
    """Fuse a DAQ graph: what it gives is the same network for the native library, in domain `daq.native`.

    Args:
        model: a DAQ file, or a model in memory, which is left as it is.

    Raises:
        ModelError: the file cannot be read, is fused already, or has no layer that the native kernels compute.

    Example:
        >>> fuse("edsr_daq.onnx").save("edsr_native.onnx")  # doctest: +SKIP
    """
    from .fusion import fuse as fuse_graph

    return fuse_graph(model)


def quantize(
    model: str | Path | ir.Model,
    config: DaqConfig | None = None,
    *,
    value_range: float | None = None,
    inline: bool = False,
    calibration: str | Path | None = None,
    trained: TrainedQuantizers | None = None,
    progress: Progress = lambda title, share: None,
) -> Quantized:
    """Quantize a float super-resolution network; without training, and without pictures of yours unless you give some.

    Args:
        model: an ONNX file, or a model in memory, which is left as it is.
        config: what is asked; None is the `deploy` profile at 4 bits.
        value_range: largest pixel value of input and output, 255 or 1; None takes what the file says, else 255.
        inline: write the functions of domain `daq` out where they are called.
        calibration: a folder of pictures like those the network is to give; None draws synthetic ones.
        trained: the quantizers of a fine-tuned checkpoint, whose configuration has weight rule `trained`.
        progress: told what is being done, and the share that is done.

    Raises:
        ModelError: the model is invalid, quantized already, or has no convolution that can be quantized as asked.
        ImageError: the folder holds no picture large enough.

    Example:
        >>> quantize("edsr.onnx", DaqConfig.of_profile("deploy", bits=4)).save("edsr_daq.onnx")  # doctest: +SKIP
    """
    config = config or DaqConfig()
    if not config.needs_pictures:
        return quantize_graph(model, config, value_range, inline, trained=trained)
    from .runtime.executor import OrtExecutor
    from .runtime.images import read_rgb
    from .runtime.session import Session

    if calibration is None:
        images = synthetic_mosaics()
    else:
        source = model if isinstance(model, (str, Path)) else ir.to_proto(model)
        with Session(source) as session:
            scale = session.scale
        images = calibration_mosaics(Path(calibration), scale, read_rgb)
    executor = OrtExecutor(INT2_OPSET if config.int2 else OPSET)
    pictures = Calibration(
        images,
        executor,
        progress,
        held_out=held_out_pictures(config),
        images_of_weights=mosaics_of_weights(images, config),
    )
    return quantize_graph(model, config, value_range, inline, pictures)


def quantize_to_drop(
    model: str | Path | ir.Model,
    config: DaqConfig | None = None,
    *,
    most_drop: float,
    value_range: float | None = None,
    inline: bool = False,
    calibration: str | Path | None = None,
    progress: Progress = lambda title, share: None,
) -> tuple[Attempt, tuple[Attempt, ...]]:
    """Quantize at the fewest bits, of weights and feature maps alike, that lose at most `most_drop` dB of PSNR-Y.

    The drop is measured on up to 8 whole pictures of the calibration folder, or on 4 drawn ones: they are taken for the
    truth, their low-resolution pictures are made by MATLAB's bicubic, and the float network is what a drop is against.

    Args:
        model: as for `quantize`, like the other arguments.
        config: `weight_bits` and `activation_bits` are found; with `mixed` they are averages.
        most_drop: in dB.
        value_range: as for `quantize`.
        inline: as for `quantize`.
        calibration: as for `quantize`.
        progress: as for `quantize`.

    Returns:
        The attempt that was taken, and all that were made.

    Raises:
        OptionError: 8 bits lose more.
    """
    from .image_pairs import ImagePair, find_image_pairs
    from .metrics import resize_bicubic
    from .runtime.images import read_rgb
    from .runtime.session import Session
    from .targets import Attempt, lowest_bits, mean_drop

    source = model if isinstance(model, (str, Path)) else ir.to_proto(model)
    with Session(source) as reference:
        reference.value_range, scale = value_range or reference.value_range, reference.scale
        if calibration is None:
            drawn = [drawn_picture(96 * scale, seed) for seed in range(4)]
            pairs = [ImagePair("drawn", resize_bicubic(high, 1 / scale), high) for high in drawn]
        else:
            found = find_image_pairs(Path(calibration), scale, read_rgb)
            every = -(-len(found) // 8)
            pairs = list(replace(found, high_paths=found.high_paths[::every]))

        def attempt(bits: int) -> Attempt:
            at_bits = replace(config or DaqConfig(), weight_bits=bits, activation_bits=bits)
            quantized = quantize(
                model, at_bits, value_range=value_range, inline=inline, calibration=calibration, progress=progress
            )
            with Session(quantized.to_bytes()) as session:
                return Attempt(bits, quantized, mean_drop(reference, session, pairs, scale))

        return lowest_bits(attempt, most_drop)


def quantize_to_size(
    model: str | Path | ir.Model,
    config: DaqConfig | None = None,
    *,
    most_bytes: int,
    value_range: float | None = None,
    inline: bool = False,
    calibration: str | Path | None = None,
    progress: Progress = lambda title, share: None,
) -> Attempt:
    """Quantize with the most weight bits whose file has at most `most_bytes`; arguments as for `quantize`.

    Args:
        model: as for `quantize`, like the other arguments.
        config: `weight_bits` are found.
        most_bytes: of the file.
        value_range: as for `quantize`.
        inline: as for `quantize`.
        calibration: as for `quantize`.
        progress: as for `quantize`.

    Raises:
        OptionError: no file is so small.
    """
    from .targets import Attempt, most_weight_bits

    asked = config or DaqConfig()

    def attempt(bits: int) -> Attempt:
        quantized = quantize(
            model,
            replace(asked, weight_bits=bits),
            value_range=value_range,
            inline=inline,
            calibration=calibration,
            progress=progress,
        )
        return Attempt(bits, quantized, len(quantized.to_bytes()))

    return most_weight_bits(attempt, most_bytes, asked)


def validate(
    model: str | Path,
    reference: str | Path,
    *,
    image: str | Path | None = None,
    data: str | Path | None = None,
    min_psnr: float | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    progress: Callable[[str], None] = lambda title: None,
) -> ValidationReport:
    """Prove a DAQ file: against its numerics, PyTorch, optimization levels, native kernels, and the float network.

    Args:
        model: the DAQ file.
        reference: the float network: an ONNX file, or a checkpoint, which also compares with PyTorch.
        image: a picture to run on, its centre of 96x96 pixels; None draws one.
        data: a folder of benchmark pictures, as for `evaluate`.
        min_psnr: level 6 fails where the output is further than so many dB from the float network's.
        provider: `cpu` or `cuda`.
        threads: threads within a node; None leaves it to ONNX Runtime.
        progress: told the title of each level when it starts.

    Returns:
        What each level found; `report.failures` is empty where every one passed.

    Raises:
        ModelError: a file cannot be read or run, the first is no DAQ file, or the two are not one network.
        DaqError: a checkpoint is given and PyTorch is not installed.
    """
    from functools import partial

    from .image_pairs import find_image_pairs
    from .model_file import read_proto
    from .probe import picture_for
    from .runtime.images import read_rgb
    from .runtime.providers import started_providers
    from .runtime.session import Session
    from .validation import Validation, onnx_reference

    model, reference = Path(model), Path(reference)
    if reference.suffix == ".onnx":
        float_network = onnx_reference(reference)
    else:
        from .float_network import check_torch

        check_torch(reference)
        from .exporters.torch_reference import reference_of

        float_network = reference_of(reference, ir.from_proto(read_proto(model)))
    with Session(model, provider, threads) as session:
        picture, scale = picture_for(session, image), session.scale
    pairs = None if data is None else find_image_pairs(Path(data), scale, read_rgb)
    others = [name for name in started_providers() if name != provider]
    validation = Validation(model, float_network, picture, partial(Session, threads=threads, native=False))
    return validation.run(provider, others[0] if others else None, pairs, min_psnr, progress)


def evaluate(
    models: Sequence[str | Path],
    data: str | Path,
    *,
    scale: int | None = None,
    bicubic: bool = False,
    provider: str = "cpu",
    threads: int | None = None,
    native: bool = True,
    ray: str | None = None,
    progress: Progress = lambda title, share: None,
) -> Comparison:
    """Measure PSNR and SSIM of networks against high-resolution pictures, by the field's protocol.

    Args:
        models: ONNX files of one scale; drops are against the first.
        data: a folder of pictures, or a benchmark's folder with `HR/` and, if there are, `LRx2/` and so on in it.
        scale: of the networks; None finds it by a run.
        bicubic: also measure bicubic upscaling.
        provider: `cpu` or `cuda`.
        threads: threads within a node; None leaves it to ONNX Runtime.
        native: use the native kernels where they are installed.
        ray: address of a Ray cluster whose workers, of `threads` processors each, share the pictures, or `auto`; None runs
            here. The figures are the same.
        progress: told what is being done, and the share that is done.

    Raises:
        OptionError: the networks differ in scale, the folder is missing or has no pictures, or there is no Ray.
        DaqError: a network or a picture cannot be read, or the network cannot run on it.
    """
    from contextlib import ExitStack
    from itertools import count

    from .evaluation import BicubicRunner, Comparison, model_names
    from .evaluation import evaluate as evaluate_runner
    from .files import check_local
    from .image_pairs import find_image_pairs
    from .runner import Runner
    from .runtime.images import read_rgb
    from .runtime.session import Session

    paths = [Path(model) for model in models]
    names = model_names(paths)
    if ray is not None:  # workers look for the files from folders of their own
        paths, threads = [path.resolve() for path in paths], threads or 1
    check_local(Path(data))
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session(path, provider, threads, native=native)) for path in paths]
        scales = [session.scale for session in sessions] if scale is None else [scale]
        if len(set(scales)) > 1:
            listed = ", ".join(f"{path.name} x{factor}" for path, factor in zip(paths, scales, strict=True))
            raise OptionError(f"networks of different scales cannot be compared: {listed}")
        pairs = find_image_pairs(Path(data), scales[0], read_rgb)
        runners: list[tuple[str, Runner]] = list(zip(names, sessions, strict=True))
        if bicubic:
            runners.append(("bicubic", BicubicRunner(scales[0])))
        done, total = count(1), len(runners) * len(pairs)

        def finish() -> None:
            progress("Evaluating", next(done) / total)

        if ray is None:
            evaluations = [evaluate_runner(runner, pairs, name, finish) for name, runner in runners]
        else:
            from .runtime.cluster import evaluate_on_ray

            evaluations = evaluate_on_ray(runners, pairs, ray, threads or 1, provider == "cuda", finish)
    return Comparison(pairs, tuple(evaluations))


def report(
    model: str | Path,
    daq_files: Sequence[str | Path] = (),
    *,
    bits: Sequence[int] = (),
    image: str | Path | None = None,
    original: str | Path | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    progress: Progress = lambda title, share: None,
) -> str:
    """Return one HTML page that shows what quantization does to a picture; it loads nothing from elsewhere.

    Args:
        model: the float network: an ONNX file, or a checkpoint.
        daq_files: DAQ files made from it.
        bits: bit-widths at which it is quantized for the page, `deploy` profile; 8, 4, 3 and 2 where neither is given.
        image: the picture to upscale; None makes it from `original` by bicubic.
        original: the high-resolution picture to compare with.
        provider: `cpu` or `cuda`.
        threads: threads within a node; None leaves it to ONNX Runtime.
        progress: told what is being done, and the share that is done.

    Raises:
        OptionError: neither picture is given, or a bit-width is not 2 to 8.
        ModelError: a file cannot be read or run, or was not made from this network.
        ImageError: a picture cannot be read, or the original does not belong to the picture.
    """
    import tempfile

    from .float_network import read_float
    from .html_report import render
    from .model_file import save_model
    from .runtime.report import NamedFile, collect, named_files, read_pictures
    from .runtime.session import Session

    float_path, given = Path(model), [Path(path) for path in daq_files]
    if image is None and original is None:
        raise OptionError("--image, --reference: name the picture to upscale, its high-resolution original, or both")
    widths = dict.fromkeys(bits if bits or given else (8, 4, 3, 2))
    configs = {width: DaqConfig.of_profile("deploy", bits=width) for width in widths}
    files = named_files(given, alone=not widths)
    with tempfile.TemporaryDirectory() as folder:
        if float_path.suffix != ".onnx":
            float_path = Path(folder) / f"{Path(model).stem}.onnx"
            save_model(read_float(Path(model), OPSET), float_path)
        with Session(float_path, provider, threads) as session:  # a picture that cannot be used is told before all work
            pictures = read_pictures(
                None if image is None else Path(image), None if original is None else Path(original), session.scale
            )
        for width, config in configs.items():
            path = Path(folder) / f"{float_path.stem}_w{width}a{width}.onnx"
            quantize(float_path, config, progress=_titled(progress, f"{width} bits: ")).save(path)
            files.append(NamedFile(f"{width} bits", path))
        content = collect(
            float_path, float_path.stem, files, pictures, provider=provider, threads=threads, progress=progress
        )
        return render(content)


def _titled(progress: Progress, prefix: str) -> Progress:
    return lambda title, share: progress(prefix + title, share)


__all__ = ["evaluate", "fuse", "quantize", "quantize_to_drop", "quantize_to_size", "report", "validate"]
