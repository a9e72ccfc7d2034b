"""`daq-deploy evaluate`: how good networks are on benchmark pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson
from .session_options import Native, Provider, Ray, Threads


def evaluate(
    models: Annotated[
        list[Path], typer.Argument(help="ONNX files; the others are compared with the first.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Pictures, or a benchmark's folder with HR/ in it. LRx2/namex2.png beside HR/ is used where it is "
            "there (LRx4 for x4, and so on); otherwise LR pictures are made by MATLAB's bicubic.",
            show_default=False,
        ),
    ],
    scale: Annotated[
        int | None,
        typer.Option("--scale", metavar="N", help="Scale; found by a run if not given.", show_default=False),
    ] = None,
    bicubic: Annotated[bool, typer.Option("--bicubic", help="Also show what bicubic upscaling reaches.")] = False,
    provider: Provider = "cpu",
    threads: Threads = None,
    native: Native = True,
    ray: Ray = None,
    as_json: AsJson = False,
) -> None:
    """Measure PSNR and SSIM of networks against high-resolution pictures, by the field's protocol.

    "drop" is the PSNR-Y, in dB, that a network loses against the first. Figures of each picture: --json.

    Example: daq-deploy evaluate edsr.onnx edsr_daq.onnx --data Set5 --bicubic
    """
    from rich.console import Console
    from rich.table import Table

    from daq_deploy.api import evaluate as evaluate_files

    from .progress import progress_bar

    with progress_bar() as progress:
        comparison = evaluate_files(
            models,
            data,
            scale=scale,
            bicubic=bicubic,
            provider=provider,
            threads=threads,
            native=native,
            ray=ray,
            progress=progress,
        )
    if as_json:
        typer.echo(comparison.to_json())
        return
    headings, *rows = comparison.rows()
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(comparison.convention(), highlight=False, markup=False)


__all__ = ["evaluate"]
