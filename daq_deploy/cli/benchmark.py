"""`daq-deploy benchmark`: speed, memory and size of networks side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson
from .session_options import AllowFallback, Native, Provider, Threads


def benchmark(
    models: Annotated[
        list[Path], typer.Argument(help="ONNX files; the others are compared with the first.", show_default=False)
    ],
    provider: Provider = "cpu",
    threads: Threads = None,
    native: Native = True,
    allow_fallback: AllowFallback = False,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Size of a smooth synthetic picture; 320x180.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--input", metavar="IMAGE", help="Picture to run on instead.", show_default=False)
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", help="Each network runs this long at least; 3.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", metavar="N", help="Runs of each network, instead of --duration.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure networks side by side: latency, throughput, peak memory and file size.

    Runs are interleaved. "varies" is the coefficient of variation; "MP/s" counts output pixels; "memory" is the peak
    above a process that has loaded everything but the network; "ratio" is the median, pair by pair, of a network's time
    over the first network's.

    Example: daq-deploy benchmark edsr_daq.onnx edsr.onnx --threads 1 --size 320x180
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from daq_deploy.errors import OptionError
    from daq_deploy.runtime.benchmark import measure
    from daq_deploy.runtime.images import read_rgb

    if size is not None and picture is not None:
        raise OptionError("--size and --input exclude each other; give one")
    if duration is not None and iterations is not None:
        raise OptionError("--duration and --iterations exclude each other; give one")
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("Measuring", total=1.0)
        result = measure(
            models,
            provider=provider,
            threads=threads,
            native=native,
            allow_fallback=allow_fallback,
            size=_parse_size(size or "320x180"),
            picture=None if picture is None else read_rgb(picture),
            duration=3.0 if duration is None else duration,
            iterations=iterations,
            progress=lambda done: bar.update(task, completed=done),
        )
    for warning in result.warnings():
        messages.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        typer.echo(result.to_json())
        return
    headings, *rows = result.rows()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=result.conditions())
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _parse_size(text: str) -> tuple[int, int]:
    from daq_deploy.errors import OptionError

    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise OptionError(f"--size {text}: give width and height in pixels as in 320x180")
    return int(width), int(height)


__all__ = ["benchmark"]
