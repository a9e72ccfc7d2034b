"""`daq-deploy inspect`: what is in a file, and what each layer costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, ImagePath

if TYPE_CHECKING:
    from daq_deploy.diagnosis import Diagnosis


def inspect(
    model: Annotated[Path, typer.Argument(help="ONNX file, DAQ or float.", show_default=False)],
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="REGEX", help="Show only layers whose name matches.")
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Run it and show what each layer costs, worst first; needs --reference.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", metavar="FLOAT", help="The float network: an ONNX file, or a checkpoint.", show_default=False
        ),
    ] = None,
    image: ImagePath = None,
    as_json: AsJson = False,
) -> None:
    """Show the layers of a DAQ file, their bits and sizes, and how the file was made.

    Of a float file it shows what `quantize` would make of it by default. With `--errors`, each layer is quantized alone
    in the float network, so that errors of other layers do not count. "SQNR" is signal over quantization noise, of what
    the layer reads and of its weights; "output" the PSNR between the output and that of the float network; "share" the
    layer's part in the sum of all layers' squared errors.

    Example: `daq-deploy inspect edsr_daq.onnx --errors --reference edsr.onnx`
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
    if errors != (reference is not None) or (image is not None and not errors):
        raise OptionError("--errors, --reference FLOAT: give both; --image IMAGE goes with them")
    found = inspect_file(model)
    found = replace(found, layers=tuple(item for item in found.layers if pattern.search(item.report.name)))
    diagnosis = None
    if reference is not None:
        if not found.is_daq:
            raise OptionError(f"--errors: {model} is a float file; quantize it first")
        diagnosis = _diagnose(model, reference, image)
        diagnosis = replace(
            diagnosis, layers=tuple(item for item in diagnosis.layers if pattern.search(item.report.name))
        )
    if as_json:
        document = found.to_dict() | ({} if diagnosis is None else {"diagnosis": diagnosis.to_dict()})
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    if diagnosis is not None:
        _print(diagnosis)
        if found.config.weight_rule == "deploy":
            typer.echo(
                "note: weights of rule deploy also correct for the quantization of the layers before, which is an error "
                "where those are float"
            )
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


def _diagnose(path: Path, reference: Path, image: Path | None) -> Diagnosis:
    import onnx_ir as ir

    from daq_deploy.diagnosis import diagnose_file
    from daq_deploy.float_network import read_float_of
    from daq_deploy.model_file import model_bytes, read_proto
    from daq_deploy.probe import picture_for
    from daq_deploy.runtime.executor import OrtExecutor
    from daq_deploy.runtime.session import Session

    from .progress import progress_bar

    model = ir.from_proto(read_proto(path))
    float_model = read_float_of(model, reference)
    with (
        Session(path, native=False) as session,
        Session(model_bytes(float_model)) as float_session,
        progress_bar() as progress,
    ):
        execute = OrtExecutor(model.opset_imports[""])
        picture = picture_for(session, image)
        return diagnose_file(model, float_model, (session, float_session), picture, execute, progress)


def _print(diagnosis: Diagnosis) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .layers_table import bits_of, decibels

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    table.add_column("bits", no_wrap=True)
    for heading in ("SQNR of its input", "SQNR of its weights", "output", "share"):
        table.add_column(heading, justify="right")
    for layer in diagnosis.layers:
        table.add_row(
            Text(layer.report.name),
            bits_of(layer.report),
            decibels(layer.activation_sqnr),
            decibels(layer.weight_sqnr),
            decibels(layer.output_psnr),
            f"{100 * layer.share:.1f} %",
        )
    Console().print(table)
    typer.echo(
        f"output: each layer alone, the others float; together {diagnosis.output_psnr:.2f} dB, where the squared errors "
        f"of the layers alone add up to {diagnosis.added_psnr:.2f} dB"
    )
    typer.echo(f"picture: {diagnosis.image}")


__all__ = ["inspect"]
