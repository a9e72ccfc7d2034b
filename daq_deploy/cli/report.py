"""`daq-deploy report`: one page that shows what quantization does to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Output
from .session_options import Provider, Threads


def report(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="The float network, an ONNX file or a checkpoint, and DAQ files that were made from it.",
            show_default=False,
        ),
    ],
    output: Output,
    bits: Annotated[
        str | None,
        typer.Option(
            "--bits",
            metavar="2..8,...",
            help="Quantize at these bits for the page; 8,4,3,2 where no DAQ file is given.",
            show_default=False,
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="IMAGE", help="Picture to upscale.", show_default=False)
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="HR",
            help="The high-resolution original to compare with; without --image the picture is made from it.",
            show_default=False,
        ),
    ] = None,
    provider: Provider = "cpu",
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Write one HTML page: the picture by bicubic, float and DAQ, figures, layers and channels.

    The page loads nothing: send it to anybody. Pictures are stored without loss.

    Example: `daq-deploy report edsr.onnx --bits 8,4,3,2 --image photo.png -o report.html`
    """
    from daq_deploy.api import report as report_page
    from daq_deploy.files import atomic_write, check_output

    from .progress import progress_bar

    check_output(output, force)
    with progress_bar() as progress:
        page = report_page(
            models[0],
            models[1:],
            bits=_parse_bits(bits),
            image=image,
            original=reference,
            provider=provider,
            threads=threads,
            progress=progress,
        )
    with atomic_write(output, force) as temporary:
        temporary.write_text(page, encoding="utf-8")
    typer.echo(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def _parse_bits(text: str | None) -> list[int]:
    from daq_deploy.errors import OptionError

    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 2 <= int(part) <= 8 for part in parts):
        raise OptionError(f"--bits {text}: give bit-widths from 2 to 8 as in 8,4,3,2")
    return [int(part) for part in parts]


__all__ = ["report"]
