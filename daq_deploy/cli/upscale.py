"""`daq-deploy upscale`: a picture in, a larger picture out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Output
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
    force: Force = False,
) -> None:
    """Upscale a picture.

    Transparency is kept (resized bicubically), the EXIF orientation is applied. The suffix of the output chooses its
    format: .png and .webp without loss, .jpg at quality 95.

    Example: daq-deploy upscale photo.jpg -o photo_x2.png --model edsr_daq.onnx
    """
    from rich.console import Console

    from daq_deploy.files import check_output
    from daq_deploy.runtime.images import check_picture_path, read_picture, write_picture
    from daq_deploy.runtime.session import Session
    from daq_deploy.runtime.upscale import upscale as upscale_picture

    console = Console(stderr=True)
    check_output(output, force)
    picture = read_picture(image)
    check_picture_path(output, picture.alpha is not None)
    for note in picture.notes:
        console.print(f"{image}: {note}", highlight=False, markup=False, soft_wrap=True)
    with Session(model, provider, threads, allow_fallback) as session:
        height, width = picture.rgb.shape[:2]
        nodes = session.describe().fallback_nodes
        if nodes is None or nodes:
            listed = "ONNX Runtime does not say which" if nodes is None else ", ".join(nodes)
            console.print(
                f"{model}: nodes that fell back to the CPU: {listed}", highlight=False, markup=False, soft_wrap=True
            )
        with console.status(f"Upscaling {width}x{height} pixels"):
            larger = upscale_picture(session, picture)
    write_picture(output, larger, force)
    height, width = larger.rgb.shape[:2]
    typer.echo(f"{output}: {width}x{height} pixels")


__all__ = ["upscale"]
