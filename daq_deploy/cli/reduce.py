"""`daq-deploy reduce`: which layers have to be left float to meet a quality gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    ActivationBits,
    AsJson,
    AttentionBits,
    Bits,
    CalibrationFolder,
    EdgeBits,
    Edges,
    ErrorFeedback,
    Exclude,
    ImagePath,
    Include,
    Layers,
    Levels,
    Mixed,
    Profile,
    RangeBits,
    RangeRule,
    ValueRange,
    WeightBits,
    WeightRule,
    config_from_options,
)
from .session_options import Threads

if TYPE_CHECKING:
    from daq_deploy.reduction import Reduction


def reduce(
    model: Annotated[
        Path,
        typer.Argument(help="Float ONNX file, or a checkpoint, of a super-resolution network.", show_default=False),
    ],
    min_psnr: Annotated[
        float | None,
        typer.Option(
            "--min-psnr",
            metavar="DB",
            help="Gate: the output is at most this far from the float network's, on --image.",
            show_default=False,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop", metavar="DB", help="Gate: PSNR-Y lost against float, at most, on --data.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Benchmark pictures, as for `evaluate`.", show_default=False),
    ] = None,
    image: ImagePath = None,
    bits: Bits = 4,
    mixed: Mixed = False,
    profile: Profile = "deploy",
    res_scale: Annotated[
        float, typer.Option("--res-scale", help="Residual scaling of EDSR, which no checkpoint shows.")
    ] = 1.0,
    value_range: ValueRange = None,
    layers: Layers = None,
    include: Include = None,
    exclude: Exclude = None,
    edge_bits: EdgeBits = None,
    weight_bits: WeightBits = None,
    activation_bits: ActivationBits = None,
    attention_bits: AttentionBits = None,
    edges: Edges = None,
    range_rule: RangeRule = None,
    levels: Levels = None,
    error_feedback: ErrorFeedback = None,
    weight_rule: WeightRule = None,
    calibration: CalibrationFolder = None,
    range_bits: RangeBits = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Find the few layers that break a quality gate, and the `--exclude` that leaves them float.

    Everything is quantized first. If that misses the gate, layers are ordered by what each costs alone, and the number of
    the worst that must be left float is found by bisection; the result was quantized and run. Nothing is written. Exit
    code 1 if no layer can be quantized.

    Example: `daq-deploy reduce edsr.onnx --bits 4 --min-psnr 45`
    """
    config = config_from_options(
        profile=profile,
        bits=bits,
        mixed=mixed,
        layers=layers,
        include=include,
        exclude=exclude,
        edge_bits=edge_bits,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        attention_bits=attention_bits,
        edges=edges,
        range_rule=range_rule,
        levels=levels,
        error_feedback=error_feedback,
        weight_rule=weight_rule,
        range_bits=range_bits,
    )
    import json

    from daq_deploy.api import quantize
    from daq_deploy.errors import OptionError
    from daq_deploy.float_network import read_float
    from daq_deploy.image_pairs import find_image_pairs
    from daq_deploy.model_file import model_bytes
    from daq_deploy.probe import picture_for
    from daq_deploy.quantization import OPSET, Quantized
    from daq_deploy.reduction import drop_gate, psnr_gate, reduce_network
    from daq_deploy.runtime.executor import OrtExecutor
    from daq_deploy.runtime.images import read_rgb
    from daq_deploy.runtime.session import Session

    from .progress import progress_bar

    if (min_psnr is None) == (max_drop is None) or (data is None) != (max_drop is None):
        raise OptionError("give one gate: --min-psnr DB, or --max-drop DB with --data FOLDER")
    float_model = read_float(model, OPSET, value_range, res_scale)

    def open_quantized(quantized: Quantized) -> Session:
        return Session(quantized.to_bytes(), threads=threads, native=False)

    with Session(model_bytes(float_model), threads=threads) as float_session, progress_bar() as progress:
        pixels = picture_for(float_session, image).pixels
        if max_drop is not None and data is not None:
            pairs = find_image_pairs(data, float_session.scale, read_rgb)
            gate = drop_gate(float_session, open_quantized, pairs, max_drop)
        elif min_psnr is not None:
            gate = psnr_gate(float_session, open_quantized, pixels, min_psnr)
        found = reduce_network(
            float_model,
            config,
            gate,
            lambda config, report: quantize(float_model, config, calibration=calibration, progress=report),
            pixels,
            OrtExecutor(OPSET, threads),
            progress,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        _print(found, model)


def _print(found: Reduction, model: Path) -> None:
    import shlex

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .layers_table import decibels

    everything = found.trials[0]
    typer.echo(f"everything quantized: {found.gate} {everything.figure:.2f} dB, asked for {found.limit:g}")
    if not found.layers:
        typer.echo(f"{model}: the gate is met; no layer has to be left float")
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("leave float", overflow="fold")
    for heading in ("output", "share", "more kB"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        cells = (decibels(layer.output_psnr), f"{100 * layer.share:.1f} %", f"{layer.more_bytes / 1000:.1f}")
        table.add_row(Text(layer.name), *cells)
    Console().print(table)
    typer.echo(f"these left float: {found.gate} {found.figure:.2f} dB, found in {len(found.trials)} trials")
    typer.echo(f"--exclude {shlex.quote(found.exclude or '')}")


__all__ = ["reduce"]
