"""`daq-deploy freeze`: a DAQ file whose ranges are constants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Force, Output
from .progress import progress_bar
from .session_options import Threads


def freeze(
    model: Annotated[Path, typer.Argument(help="DAQ file.", show_default=False)],
    images: Annotated[
        Path,
        typer.Option(
            "--images",
            metavar="FOLDER",
            help="Pictures like those that the network will be given; a few dozen are enough.",
            show_default=False,
        ),
    ],
    output: Output,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Bake the ranges of feature maps into a DAQ file, for runtimes that take no scales computed at run time.

    The ranges are those of all pictures together; a picture unlike them is clipped or quantized too coarsely. Compare
    with `daq-deploy evaluate`.

    Example: daq-deploy freeze edsr_daq.onnx --images photos -o edsr_static.onnx
    """
    from functools import partial

    from daq_deploy.files import check_output
    from daq_deploy.model_file import save_model
    from daq_deploy.runtime.freeze import freeze as freeze_model

    check_output(output, force)
    with progress_bar() as progress:
        frozen, pictures = freeze_model(model, images, threads, partial(progress, "Measuring ranges"))
    save_model(frozen, output, force)
    typer.echo(f"{output}: ranges of {pictures} pictures, {output.stat().st_size / 1000:.1f} kB")


__all__ = ["freeze"]
