"""`daq-deploy upscale`: a picture in, a larger picture out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Output
from .progress import progress_bar
from .session_options import AllowFallback, Provider, Threads


def upscale(
    image: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP picture.", show_default=False)],
    output: Output,
    model: Annotated[
        Path, typer.Option("--model", "-m", help="ONNX file, float or DAQ, to upscale with.", show_default=False)
    ],
    provider: Provider = "cpu",
    threads: Threads = None,
    allow_fallback: AllowFallback = False,
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
    force: Force = False,
) -> None:
    """Upscale a picture.

    Transparency is kept (resized bicubically), the EXIF orientation is applied. The suffix of the output chooses its
    format: .png and .webp without loss, .jpg at quality 95.

    Example: daq-deploy upscale photo.jpg -o photo_x2.png --model edsr_daq.onnx
    """
    from functools import partial

    from rich.console import Console

    from daq_deploy.files import check_output
    from daq_deploy.runtime.images import check_picture_path, read_picture, write_picture
    from daq_deploy.runtime.upscaler import Upscaler

    console = Console(stderr=True)
    check_output(output, force)
    picture = read_picture(image)
    check_picture_path(output, picture.alpha is not None)
    for note in picture.notes:
        console.print(f"{image}: {note}", highlight=False, markup=False, soft_wrap=True)
    with Upscaler(
        model, provider, threads, allow_fallback, tile=tile, overlap=overlap, max_memory=max_memory
    ) as upscaler:
        nodes = upscaler.session.describe().fallback_nodes
        if nodes is None or nodes:
            listed = "ONNX Runtime does not say which" if nodes is None else ", ".join(nodes)
            console.print(
                f"{model}: nodes that fell back to the CPU: {listed}", highlight=False, markup=False, soft_wrap=True
            )
        with progress_bar() as progress:
            larger = upscaler.upscale_picture(picture, partial(progress, "Upscaling"))
    write_picture(output, larger, force)
    height, width = larger.rgb.shape[:2]
    typer.echo(f"{output}: {width}x{height} pixels")


__all__ = ["upscale"]
