"""Tables of figures as Markdown, and the marked section of the document they stand in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from daq_deploy.errors import OptionError
from daq_deploy.evaluation import Scores
from daq_deploy.files import atomic_write

from .machine import this_machine

BEGIN, END = MARKS = ("<!-- accuracy table: begin -->", "<!-- accuracy table: end -->")
"""The lines of the document between which the section is rewritten."""
_UNKNOWN = "-"


@dataclass(frozen=True)
class Block:
    """One network on one data set; figures are means over the images."""

    data_set: str
    network: str
    float_scores: Scores
    rows: Mapping[str, Mapping[int, Scores]]
    """Figures by configuration, then bits."""


def render(blocks: Sequence[Block]) -> str:
    """Return the section as Markdown: a table for each block, then what it was measured with.

    The smallest drop of a column, to a thousandth of a dB, is bold.
    """
    lines = []
    for block in blocks:
        columns = sorted({bits for row in block.rows.values() for bits in row}, reverse=True)
        drops = {bits: min(_drop(row[bits], block) for row in block.rows.values() if bits in row) for bits in columns}
        headings = ["", *(f"W{bits}A{bits}" for bits in columns)]
        lines += [
            f"### {block.network}, {block.data_set}: float {block.float_scores.psnr_y:.2f} / {_ssim(block.float_scores)}",
            "",
            table_line(headings),
            table_line(["---"] * len(headings)),
        ]
        for name, row in block.rows.items():
            cells = [_cell(row[bits], block, drops[bits]) if bits in row else _UNKNOWN for bits in columns]
            lines.append(table_line([name, *cells]))
        lines.append("")
    machine = this_machine()
    packages = ("daq-deploy", "onnxruntime", "onnx", "onnx-ir", "numpy")
    lines += [
        f"Measured with {', '.join(f'{package} {version(package)}' for package in packages)}, Python {machine.python} "
        f"on {machine.cpu} (cores: {machine.cores}; {', '.join(machine.instruction_sets)}), provider cpu."
    ]
    return "\n".join(lines)


def _drop(scores: Scores, block: Block) -> float:
    # Rounded as it is shown, and without a minus before zero.
    return round(block.float_scores.psnr_y - scores.psnr_y, 3) + 0.0


def _cell(scores: Scores, block: Block, smallest_drop: float) -> str:
    drop = _drop(scores, block)
    text = f"{scores.psnr_y:.2f} ({drop:.3f}) / {_ssim(scores)}"
    return f"**{text}**" if drop == smallest_drop else text


def _ssim(scores: Scores) -> str:
    return f"{scores.ssim_y:.4f}"


def table_line(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def split_document(document: Path, marks: tuple[str, str] = MARKS) -> tuple[str, str]:
    """Return what stands before and after the section, the marking lines included.

    Raises:
        OptionError: the document is missing, or does not have each of the two lines once, in order.
    """
    if not document.is_file():
        raise OptionError(f"--output {document}: no such file; the table is written into an existing document")
    first, last = marks
    before, begin, rest = document.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end) or first in rest or last in before + after:
        raise OptionError(f"--output {document}: needs the lines {first} and {last}, once each; the table goes between")
    return before + begin, end + after


def rewrite_section(document: Path, section: str, marks: tuple[str, str] = MARKS) -> None:
    """Put `section` between the two marked lines of a document.

    Raises:
        OptionError: as `split_document`.
    """
    before, after = split_document(document, marks)
    with atomic_write(document, force=True) as temporary:
        temporary.write_text(f"{before}\n\n{section}\n\n{after}", encoding="utf-8")


__all__ = ["BEGIN", "END", "MARKS", "Block", "render", "rewrite_section", "split_document", "table_line"]
