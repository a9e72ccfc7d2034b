"""`daq-deploy inspect`: what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson


def inspect(
    model: Annotated[Path, typer.Argument(help="ONNX file, DAQ or float.", show_default=False)],
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="REGEX", help="Show only layers whose name matches.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the layers of a DAQ file, their bits and sizes, and how the file was made.

    Of a float file it shows what `quantize` would make of it by default.

    Example: `daq-deploy inspect edsr_daq.onnx --layer body`
    """
    import json
    import re
    from dataclasses import asdict, replace

    from daq_deploy.errors import OptionError
    from daq_deploy.inspection import inspect_file

    from .layers_table import layer_notes, print_table

    try:
        pattern = re.compile(layer or "")
    except re.error as error:
        raise OptionError(f"--layer {layer!r} is not a regular expression: {error}") from error
    found = inspect_file(model)
    found = replace(found, layers=tuple(item for item in found.layers if pattern.search(item.report.name)))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    print_table(found.layers)
    kind = "DAQ file" if found.is_daq else "float file; the table shows what `daq-deploy quantize` would make of it"
    typer.echo(f"{found.path}: {kind}, {found.file_bytes / 1000:.1f} kB, opset {found.opset}")
    for line in layer_notes(found.layers, found.totals):
        typer.echo(line)
    typer.echo(f"pixels 0..{found.value_range:g}")
    if found.is_daq:
        options = (f"{name}={value}" for name, value in asdict(found.config).items() if value is not None)
        typer.echo("config: " + ", ".join(options))
        typer.echo("made by: " + ", ".join(f"{name} {version}" for name, version in found.versions.items()))
        typer.echo(f"source sha256: {found.source_sha256 or 'not recorded'}")
    typer.echo(f"sha256: {found.sha256}")


__all__ = ["inspect"]
