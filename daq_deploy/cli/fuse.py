"""`daq-deploy fuse`: DAQ file in, native graph out, for programs in C, C++, C# or Java."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Force, Output


def fuse(
    model: Annotated[Path, typer.Argument(help="DAQ file.", show_default=False)],
    output: Output,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write the graph that the native kernels run, for programs that load the native library themselves.

    From Python there is no need for it: a session fuses a DAQ file when it opens it. The file needs the library of this
    version; see docs/native.md.

    Example: `daq-deploy fuse edsr_daq.onnx -o edsr_native.onnx`
    """
    import json
    from dataclasses import asdict

    from daq_deploy.api import fuse as fuse_file
    from daq_deploy.files import check_output
    from daq_deploy.runtime.library import library_path

    check_output(output, force)
    fused = fuse_file(model)
    fused.save(output, force)
    layers, path = fused.fusion.layers, library_path()
    if as_json:
        document = {
            "output": str(output),
            "native_library": None if path is None else str(path),
            "layers": [asdict(layer) for layer in layers],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    counts = {kind: len(fused.fusion.of_kind(kind)) for kind in ("native", "exact", "float", "left")}
    typer.echo(
        f"{output}: {counts['native'] + counts['exact']} native convolutions ({counts['exact']} with weights of 16 bits), "
        f"{counts['float']} of the picture, {counts['left']} left to ONNX Runtime"
    )
    for layer in fused.fusion.of_kind("left"):
        typer.echo(f"  {layer.name}: {layer.reason}")
    typer.echo(f"library: {path or 'none, daq-deploy was installed without a C++ compiler'}")


__all__ = ["fuse"]
