"""The speed table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from daq_deploy.runtime.benchmark import STEADY_VARIATION
from daq_deploy.runtime.library import INSTRUCTION_SETS
from daq_deploy.runtime.results_document import table_line

from .cell import Cell, Entry, Place
from .contestants import FLOAT, ONNXRUNTIME_INT8, OPENVINO_INT8, STANDARD_OPS, frozen, native

MARKS = ("<!-- speed table: begin -->", "<!-- speed table: end -->")
"""The lines of the document between which the section is rewritten."""
_UNKNOWN = "-"


def render(cells: Sequence[Cell]) -> str:
    """Return the section: a table of all cells, then a table for each network and size."""
    lines = ["### Native kernels at a glance", "", *_glance(cells), ""]
    if len({(_size(cell), cell.place.threads) for cell in cells}) > 1:
        lines += ["### Native kernels: growth with pixels and threads", "", *_growth(cells), ""]
    for (network, width, height), group in groupby(cells, lambda cell: (cell.place.network, *_size(cell))):
        lines += [f"### {network}, {width}x{height}", "", *_table(list(group)), ""]
    known = list(dict.fromkeys(cell.conditions for cell in cells))
    if len(known) == 1:
        lines.append(f"Measured with {known[0]}.")
    else:
        lines += [f"- {_places(cells, conditions)}: measured with {conditions}." for conditions in known]
    unsteady = max((entry.timing.variation for cell in cells for entry in cell.entries), default=0)
    if unsteady > STEADY_VARIATION:
        lines += [
            "",
            f"The machine was not quiet: run times of one row vary by up to {unsteady:.0%} (standard deviation).",
        ]
    return "\n".join(lines).strip()


def _size(cell: Cell) -> tuple[int, int]:
    return cell.place.width, cell.place.height


def _places(cells: Sequence[Cell], conditions: str) -> str:
    found = [cell.place for cell in cells if cell.conditions == conditions]
    return ", ".join(dict.fromkeys(f"{place.network} {place.width}x{place.height}" for place in found))


def _glance(cells: Sequence[Cell]) -> list[str]:
    """A line a cell and tier: how many times as fast as each rival, and what it costs."""
    headings = (
        *("network", "input", "threads", "tier", "ms"),
        *("x float", "x INT8 ORT", "x INT8 OpenVINO", "x standard ops"),
        *("memory / float", "dynamic ranges cost", "int8 peak", "memory bandwidth"),
    )
    lines = [table_line(headings), table_line(["---"] * len(headings))]
    for cell in cells:
        for tier in cell.tiers:
            entry = cell.entry(native(tier).name)
            if entry is not None:
                lines.append(table_line(_glance_row(cell, tier, entry)))
    return lines if len(lines) > 2 else ["The native library was not there."]


def _glance_row(cell: Cell, tier: str, entry: Entry) -> list[str]:
    place = cell.place
    rivals = [
        cell.times_faster(entry.name, rival.name) for rival in (FLOAT, ONNXRUNTIME_INT8, OPENVINO_INT8, STANDARD_OPS)
    ]
    memory, float_memory = entry.peak_memory_bytes, cell.entries[0].peak_memory_bytes
    faster = cell.times_faster(frozen(tier).name, entry.name)
    seconds = entry.timing.p50 / 1e3
    pixels = place.width * place.height
    operations, peak = cell.work.operations * pixels / seconds, cell.peaks.int8_operations
    return [
        *(place.network, f"{place.width}x{place.height}", str(place.threads), tier, f"{entry.timing.p50:.1f}"),
        *(_UNKNOWN if ratio is None else f"{ratio:.2f}" for ratio in rivals),
        _UNKNOWN if memory is None or not float_memory else f"{memory / float_memory:.2f}",
        _UNKNOWN if faster is None else f"{faster - 1:+.1%}",
        _UNKNOWN if peak is None else f"{operations / peak:.0%}",
        f"{cell.work.memory_bytes * pixels / seconds / cell.peaks.memory_bytes:.0%}",
    ]


def _growth(cells: Sequence[Cell]) -> list[str]:
    """A line a network, tier and number of threads: nanoseconds a pixel of the input, by its size."""
    sizes = sorted({_size(cell) for cell in cells}, key=lambda size: size[0] * size[1])
    headings = ["ns a pixel of the input", "tier", "threads", *(f"{width}x{height}" for width, height in sizes)]
    lines = [table_line(headings), table_line(["---"] * len(headings))]
    rows = {(cell.place.network, tier, cell.place.threads) for cell in cells for tier in cell.tiers}
    order = {cell.place.network: number for number, cell in enumerate(cells)}
    known = {cell.place: cell for cell in cells}
    for network, tier, threads in sorted(rows, key=lambda row: (order[row[0]], INSTRUCTION_SETS.index(row[1]), row[2])):
        line = [network, tier, str(threads)]
        for width, height in sizes:
            time, alone = (_pixel_time(known.get(Place(network, width, height, n)), tier) for n in (threads, 1))
            gain = "" if threads == 1 or time is None or alone is None else f" ({alone / time:.2f} x)"
            line.append(_UNKNOWN if time is None else f"{time:,.0f}{gain}")
        lines.append(table_line(line))
    return lines


def _pixel_time(cell: Cell | None, tier: str) -> float | None:
    entry = None if cell is None else cell.entry(native(tier).name)
    return None if cell is None or entry is None else entry.timing.p50 * 1e6 / (cell.place.width * cell.place.height)


def _table(cells: Sequence[Cell]) -> list[str]:
    """One network and size: a line a contestant, columns by threads."""
    headings = ["", "memory"]
    for cell in cells:
        threads = f"{cell.place.threads} thread{'s' * (cell.place.threads > 1)}"
        headings += [f"{threads}: ms", "x float", "MP/s"]
    lines = [table_line(headings), table_line(["---"] * len(headings))]
    names = dict.fromkeys(entry.name for cell in cells for entry in cell.entries)
    for name in names:
        found = [cell.entry(name) for cell in cells]
        memory = [
            entry.peak_memory_bytes for entry in found if entry is not None and entry.peak_memory_bytes is not None
        ]
        row = [name, f"{max(memory) / 1e6:,.0f} MB" if memory else _UNKNOWN]
        for entry in found:
            row += [_UNKNOWN] * 3 if entry is None else _figures(entry)
        lines.append(table_line(row))
    left_out = {name: reason for cell in cells for name, reason in cell.left_out.items()}
    if left_out:
        lines += ["", "Left out: " + "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) + "."]
    lines += ["", f"Peak of the processor: {'; '.join(map(_peaks, cells))}."]
    return lines


def _peaks(cell: Cell) -> str:
    operations, threads = cell.peaks.int8_operations, cell.place.threads
    tops = "" if operations is None else f"{operations / 1e12:.2f} int8 TOPS and "
    return f"{tops}{cell.peaks.memory_bytes / 1e9:.1f} GB/s with {threads} thread{'s' * (threads > 1)}"


def _figures(entry: Entry) -> list[str]:
    return [f"{entry.timing.p50:.1f}", f"{1 / entry.timing.ratio:.2f}", f"{entry.megapixels_per_second:.2f}"]


__all__ = ["MARKS", "render"]
