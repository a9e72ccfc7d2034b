"""The table of layers that `quantize`, `export` and `inspect` print."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from daq_deploy.config import FLOAT_BITS

if TYPE_CHECKING:
    from daq_deploy.inspection import StoredLayer, WeightTotals
    from daq_deploy.passes.plan import LayerReport
    from daq_deploy.quantization import Quantized


def print_layers(quantized: Quantized, source: Path, output: Path | None, as_json: bool) -> None:
    """Print what became of each convolution, and what the file weighs against the one it was made from.

    Args:
        quantized: the DAQ graph.
        source: the float file or checkpoint.
        output: the DAQ file that was written; None where none was.
        as_json: print one JSON document instead of a table.
    """
    import typer

    from daq_deploy.inspection import size_on_disk, stored_layers, weight_totals

    layers, totals = stored_layers(quantized), weight_totals(quantized.model)
    size = len(quantized.to_bytes()) if output is None else size_on_disk(output)
    source_size = size_on_disk(source)
    if as_json:
        document = {
            "source": str(source),
            "source_bytes": source_size,
            "output": None if output is None else str(output),
            "output_bytes": size,
            "weights": totals.weights,
            "bits_per_weight": totals.bits_per_weight,
            "layers": [layer.to_dict() for layer in layers],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    print_table(layers)
    name = "without --dry-run the file would have" if output is None else f"{output}:"
    typer.echo(f"{name} {size / 1000:.1f} kB, {size / source_size:.3f} of {source} ({source_size / 1000:.1f} kB)")
    for line in layer_notes(layers, totals):
        typer.echo(line)


def print_table(layers: Iterable[StoredLayer]) -> None:
    """Print one row a convolution."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    for heading in ("role", "bits", "levels", "signed"):
        table.add_column(heading, no_wrap=True)
    for heading in ("shape", "kB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        report = layer.report
        row = (
            report.name,
            report.role,
            bits_of(report),
            levels_of(report),
            "yes" if report.signed else "no",
            "x".join(str(size) for size in report.weight_shape),
            f"{layer.stored_bytes / 1000:.1f}",
        )
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def layer_notes(layers: Iterable[StoredLayer], totals: WeightTotals) -> list[str]:
    """Return the lines under the table: the average bits a weight, why layers are float, and what is stored wider."""
    lines = [f"{totals.weights} weights at {totals.bits_per_weight:.2f} bits on average, steps included"]
    names: dict[str, list[str]] = {}
    for layer in layers:
        if layer.report.reason:
            names.setdefault(layer.report.reason, []).append(layer.report.name)
        elif layer.report.weight_bits == 2 and layer.storage_bits == 4 and len(lines) == 1:
            lines.append("2-bit weights are stored in four bits; --int2 stores them in two (opset 25)")
    for reason, of_reason in names.items():
        rest = f" and {len(of_reason) - 3} more" if len(of_reason) > 3 else ""
        lines.append(f"{', '.join(of_reason[:3])}{rest}: {reason}")
    return lines


def bits_of(report: LayerReport) -> str:
    """Return a layer's bits: W4A32 is weights at 4 bits and a feature map left float, A3.6 an average over channels."""
    channels = report.channel_bits
    activation_bits = f"{report.activation_bits}" if channels is None else f"{sum(channels) / len(channels):.1f}"
    return f"W{report.weight_bits}A{activation_bits}"


def levels_of(report: LayerReport) -> str:
    """Return how the levels of what a layer reads lie, and whether errors are fed back; nothing where it is left float."""
    if report.activation_bits == FLOAT_BITS:
        return ""
    return ("companded" if report.companded else "even") + (", feedback" if report.error_feedback else "")


def decibels(value: float | None) -> str:
    """Return a cell of a signal-to-noise column; None is what was left float."""
    return "float" if value is None else f"{value:.1f} dB"


__all__ = ["bits_of", "decibels", "layer_notes", "levels_of", "print_layers", "print_table"]
