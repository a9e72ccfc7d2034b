"""`daq-deploy upscale`: pictures in, larger pictures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Force
from .progress import progress_bar
from .session_options import AllowFallback, Native, Provider, Ray, Threads

if TYPE_CHECKING:
    from rich.console import Console

    from daq_deploy.runtime.folder import Summary
    from daq_deploy.runtime.manifest import Entry
    from daq_deploy.runtime.upscaler import Upscaler


def upscale(
    image: Annotated[
        Path, typer.Argument(help="PNG, JPEG, WebP or TIFF picture, or a folder of them.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write, or folder for a folder.", show_default=False)
    ],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="ONNX file, float or DAQ, to upscale with.", show_default=False)
    ],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into subfolders too.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was interrupted: what is done is not done again.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", help="Pictures of a folder that are in the network at a time.")
    ] = 1,
    tile: Annotated[
        str,
        typer.Option(
            "--tile",
            metavar="auto|off|N",
            help="Run in tiles of N pixels; auto: where memory asks for it. The output does not depend on it.",
        ),
    ] = "auto",
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap", metavar="auto|N", help="Pixels that tiles overlap by; auto: as far as the network looks."
        ),
    ] = "auto",
    max_memory: Annotated[
        str, typer.Option("--max-memory", metavar="SIZE", help="Main memory to stay within, about: 900M, 2G.")
    ] = "1.5G",
    provider: Provider = "cpu",
    threads: Threads = None,
    allow_fallback: AllowFallback = False,
    native: Native = True,
    ray: Ray = None,
    force: Force = False,
) -> None:
    """Upscale a picture, or a folder of pictures.

    Transparency is kept (resized bicubically), the EXIF orientation is applied, colour profile and metadata are kept. The
    suffix of the output chooses its format: PNG, WebP and TIFF without loss, JPEG at quality 95. Of a folder every picture
    keeps its name and format; manifest.jsonl in the output folder says what became of each.

    Example: daq-deploy upscale photo.jpg -o photo_x2.png --model edsr_daq.onnx

    Example: daq-deploy upscale photos -o large --recursive --resume --model edsr_daq.onnx
    """
    import logging
    from dataclasses import replace

    from rich.console import Console
    from rich.logging import RichHandler

    from daq_deploy.errors import CheckFailed, OptionError
    from daq_deploy.files import check_local
    from daq_deploy.runtime.cluster import upscale_on_ray
    from daq_deploy.runtime.folder import plan_tasks, upscale_folder
    from daq_deploy.runtime.upscaler import Upscaler

    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False, markup=False)
    logging.getLogger("daq_deploy").addHandler(handler)
    for path in (image, output):
        check_local(path)
    if ray is not None:
        if not image.is_dir():
            raise OptionError(f"--ray: give a folder; {image} is none")
        model, threads = model.resolve(), threads or 1  # workers look for the model from folders of their own
    with Upscaler(
        model, provider, threads, allow_fallback, tile=tile, overlap=overlap, max_memory=max_memory, native=native
    ) as upscaler:
        nodes = upscaler.session.describe().fallback_nodes
        if nodes is None or nodes:
            listed = "ONNX Runtime does not say which" if nodes is None else ", ".join(nodes)
            _say(console, f"{model}: nodes that fell back to the CPU: {listed}")
        if not image.is_dir():
            _upscale_file(upscaler, image, output, force, console)
            return
        tasks, skipped = plan_tasks(image, output, model, recursive, resume, force)
        with _entries_bar(len(tasks), console) as report:
            if ray is None:
                summary = upscale_folder(upscaler, tasks, output, jobs, report)
            else:
                summary = upscale_on_ray(upscaler, tasks, output, ray, threads or 1, report)
    summary = replace(summary, skipped=skipped)
    typer.echo(_told(output, summary))
    if summary.failed:
        total = summary.done + len(summary.failed) + summary.skipped
        raise CheckFailed(f"{len(summary.failed)} of {total} pictures failed; {output / 'manifest.jsonl'} says why")


def _upscale_file(upscaler: Upscaler, image: Path, output: Path, force: bool, console: Console) -> None:
    from functools import partial

    from daq_deploy.files import check_output
    from daq_deploy.runtime.images import check_picture_path, read_picture, write_picture

    check_output(output, force)
    picture = read_picture(image)
    height, width = (size * upscaler.scale for size in picture.rgb.shape[:2])
    check_picture_path(output, picture.alpha is not None, (height, width))
    for note in picture.notes:
        _say(console, f"{image}: {note}")
    with progress_bar() as progress:
        larger = upscaler.upscale_picture(picture, partial(progress, "Upscaling"))
    del picture
    write_picture(output, larger, force)
    typer.echo(f"{output}: {width}x{height} pixels")


@contextmanager
def _entries_bar(total: int, console: Console) -> Iterator[Callable[[Entry], None]]:
    """Yield a function that is told what became of each picture; a bar shows how far it is, errors stay on the screen."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Upscaling", total=total, rate="")

        def report(entry: Entry) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, rate="" if speed is None else f"{speed:.2f} a second")
            if entry.error:
                _say(console, entry.error)

        yield report


def _told(output: Path, summary: Summary) -> str:
    parts = [f"{summary.done} pictures upscaled"]
    if summary.skipped:
        parts.append(f"{summary.skipped} were done before")
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    return f"{output}: {', '.join(parts)}; the network took {summary.network_seconds:.1f} s"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


__all__ = ["upscale"]
