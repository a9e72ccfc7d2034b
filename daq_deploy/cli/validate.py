"""`daq-deploy validate`: is a DAQ file what it claims to be, and how far is it from the float network?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, ImagePath
from .session_options import Provider, Threads

if TYPE_CHECKING:
    from daq_deploy.validation import ValidationReport


def validate(
    model: Annotated[Path, typer.Argument(help="DAQ file.", show_default=False)],
    reference: Annotated[
        Path,
        typer.Option(
            "--reference",
            metavar="FLOAT",
            help="The float network: an ONNX file, or a checkpoint, which also compares with PyTorch.",
            show_default=False,
        ),
    ],
    image: ImagePath = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Benchmark pictures, as for `evaluate`.", show_default=False),
    ] = None,
    min_psnr: Annotated[
        float | None,
        typer.Option(
            "--min-psnr",
            metavar="DB",
            help="Fail where the output is further than this from the float network's.",
            show_default=False,
        ),
    ] = None,
    provider: Provider = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Prove a DAQ file: against its numerics, PyTorch, every optimization level, and the float network.

    Exit code 1 if a level fails. Layers are listed worst first: "SQNR" is signal over quantization noise.

    Example: `daq-deploy validate edsr_daq.onnx --reference edsr.onnx --data Set5`
    """
    import json

    from rich.console import Console

    from daq_deploy.api import validate as validate_file
    from daq_deploy.errors import CheckFailed

    messages = Console(stderr=True)
    with messages.status("Reading") as status:
        report = validate_file(
            model,
            reference,
            image=image,
            data=data,
            min_psnr=min_psnr,
            provider=provider,
            threads=threads,
            progress=status.update,
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _print(report)
    if report.failures:
        numbers = ", ".join(str(level.number) for level in report.failures)
        raise CheckFailed(f"{model}: level {numbers} failed: {report.failures[0].detail}")


def _print(report: ValidationReport) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .layers_table import decibels

    console = Console()
    for note in report.notes:
        typer.echo(f"note: {note}")
    layers = Table(box=box.SIMPLE_HEAD)
    layers.add_column("layer", overflow="fold")
    layers.add_column("SQNR of its input", justify="right")
    layers.add_column("SQNR of its weights", justify="right")
    for layer in report.layers:
        layers.add_row(Text(layer.name), decibels(layer.activation_sqnr), decibels(layer.weight_sqnr))
    console.print(layers)
    for level in report.levels:
        typer.echo(f"level {level.number}, {level.title}: {level.outcome}: {level.detail}")
    typer.echo(f"{report.model} against {report.reference}, picture: {report.image}")


__all__ = ["validate"]
