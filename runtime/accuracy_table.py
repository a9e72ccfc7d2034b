"""The accuracy section of docs/results.md: `python -m daq_deploy.runtime.accuracy_table --data FOLDER -o docs/results.md`.

Every network of FOLDER/onnx, and those that ship where torch is installed to export them, are quantized in memory by
each configuration at each bit-width and evaluated on FOLDER/images/Set5 and Set14. Figures are kept in a file as they
come, under the hash of the model that was run: an interrupted command goes on where it stopped, and a change of the
quantizer measures again what it changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import onnx_ir as ir
import onnxruntime

from daq_deploy.config import DaqConfig
from daq_deploy.errors import DaqError, OptionError
from daq_deploy.evaluation import Scores, evaluate
from daq_deploy.files import atomic_write
from daq_deploy.image_pairs import find_image_pairs
from daq_deploy.model_file import model_bytes
from daq_deploy.quantization import quantize

from .images import read_picture
from .machine import this_machine
from .session import Session

CONFIGURATIONS = {rule: DaqConfig(range_rule=rule, weight_rule="paper") for rule in ("paper", "reference")}
"""What is compared, by name; the bits of the body are put in."""
BITS = (8, 6, 4, 3, 2)
DATA_SETS = ("Set5", "Set14")
BEGIN, END = "<!-- accuracy table: begin -->", "<!-- accuracy table: end -->"
"""The lines of the document between which the section is rewritten."""


@dataclass(frozen=True)
class Network:
    """A float network."""

    name: str
    model: Path | ir.Model

    def to_bytes(self) -> bytes:
        """Return the float model as an ONNX file's bytes."""
        return self.model.read_bytes() if isinstance(self.model, Path) else model_bytes(self.model)


@dataclass(frozen=True)
class Row:
    """One network by one configuration on one data set; figures are means over the images."""

    data_set: str
    network: str
    configuration: str
    float_scores: Scores
    by_bits: Mapping[int, Scores]


class ScoreCache:
    """Figures by what they depend on, kept in a file that is written after each."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin with nothing where there is none.

        Raises:
            OptionError: the file is not one of ours.
        """
        self._path = path
        try:
            known = json.loads(path.read_text()) if path.exists() else {}
            self._scores = {key: Scores(**values) for key, values in known.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise OptionError(f"--cache {path}: is not a file of figures; remove it") from error

    def get(self, model: bytes, data_set: str, measure: Callable[[], Scores]) -> Scores:
        """Return the figures of a model on a data set, measured only if they are not known."""
        key = f"{hashlib.sha256(model).hexdigest()} {data_set} onnxruntime {onnxruntime.__version__}"
        if key not in self._scores:
            self._scores[key] = measure()
            with atomic_write(self._path, force=True) as temporary:
                temporary.write_text(
                    json.dumps({key: asdict(scores) for key, scores in self._scores.items()}, indent=1)
                )
        return self._scores[key]


def find_networks(folder: Path) -> list[Network]:
    """Return the ONNX files of a folder and the shipped checkpoints.

    Raises:
        OptionError: the folder has no ONNX file.
    """
    networks = [Network(path.stem, path) for path in sorted(folder.glob("*.onnx"))]
    if not networks:
        raise OptionError(f"--data: {folder} has no ONNX files")
    return networks + _shipped_networks()


def _shipped_networks() -> list[Network]:
    from daq_deploy import models

    checkpoints = sorted(path for folder in models.__path__ for path in Path(folder).glob("checkpoints/*.safetensors"))
    if find_spec("torch") is None:
        print("torch is not installed: the shipped checkpoints cannot be exported and are left out", file=sys.stderr)
        return []
    from daq_deploy.exporters.export import export_float

    return [Network(path.stem, export_float(path).model) for path in checkpoints]


def measure_rows(networks: Sequence[Network], images: Path, cache: ScoreCache, threads: int | None) -> list[Row]:
    """Return every row of the table.

    Args:
        networks: float networks.
        images: folder of the data sets.
        cache: figures that are known already.
        threads: threads within a node; None leaves it to ONNX Runtime.

    Raises:
        DaqError: a network cannot be quantized or does not run on an image, or the images are missing.
    """

    def scores_of(model: bytes, label: str) -> dict[str, Scores]:
        return {name: _scores(model, label, images / name, cache, threads) for name in DATA_SETS}

    rows = []
    for network in networks:
        float_scores = scores_of(network.to_bytes(), f"{network.name} float")
        for name, configuration in CONFIGURATIONS.items():
            by_bits = {}
            for bits in BITS:
                config = replace(configuration, weight_bits=bits, activation_bits=bits)
                model = quantize(network.model, config).to_bytes()
                by_bits[bits] = scores_of(model, f"{network.name} {name} W{bits}A{bits}")
            for data_set in DATA_SETS:
                scores = {bits: by_bits[bits][data_set] for bits in BITS}
                rows.append(Row(data_set, network.name, name, float_scores[data_set], scores))
    return rows


def _scores(model: bytes, label: str, folder: Path, cache: ScoreCache, threads: int | None) -> Scores:
    def measure() -> Scores:
        with Session(model, threads=threads) as session:
            pairs = find_image_pairs(folder, session.scale, lambda path: read_picture(path).rgb)
            return evaluate(session, pairs, label).mean

    scores = cache.get(model, folder.name, measure)
    print(f"{folder.name} {label}: {scores.psnr_y:.3f} dB", file=sys.stderr, flush=True)
    return scores


def render(rows: Sequence[Row]) -> str:
    """Return the section as Markdown: a table for each data set, then what it was measured with."""
    lines = []
    for data_set in dict.fromkeys(row.data_set for row in rows):
        headings = ["network", "rule", "float", *(f"W{bits}A{bits}" for bits in BITS)]
        lines += [f"### {data_set}", "", _table_line(headings), _table_line(["---"] * len(headings))]
        for row in rows:
            if row.data_set == data_set:
                cells = [_cell(row.by_bits[bits], row.float_scores) for bits in BITS]
                lines.append(_table_line([row.network, row.configuration, _float_cell(row.float_scores), *cells]))
        lines.append("")
    machine = this_machine()
    versions = ", ".join(f"{package} {version(package)}" for package in ("daq-deploy", "onnxruntime", "onnx", "numpy"))
    lines += [
        f"Measured with {versions}, Python {machine.python} on {machine.cpu} ({machine.cores} cores), provider cpu."
    ]
    return "\n".join(lines)


def _table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _float_cell(scores: Scores) -> str:
    return f"{scores.psnr_y:.2f} / {scores.ssim_y:.4f}"


def _cell(scores: Scores, float_scores: Scores) -> str:
    return f"{_float_cell(scores)} ({scores.psnr_y - float_scores.psnr_y:+.2f})"


def split_document(document: Path) -> tuple[str, str]:
    """Return what stands before and after the section, the marking lines included.

    Raises:
        OptionError: the document is missing, or does not have each of the two lines once, in order.
    """
    if not document.is_file():
        raise OptionError(f"--output {document}: no such file; the table is written into an existing document")
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        raise OptionError(f"--output {document}: needs the lines {BEGIN} and {END}, once each; the table goes between")
    return before + begin, end + after


def rewrite_section(document: Path, section: str) -> None:
    """Put `section` between the two marked lines of a document.

    Raises:
        OptionError: as `split_document`.
    """
    before, after = split_document(document)
    with atomic_write(document, force=True) as temporary:
        temporary.write_text(f"{before}\n\n{section}\n\n{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m daq_deploy.runtime.accuracy_table", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with onnx/ and images/Set5, images/Set14")
    parser.add_argument("-o", "--output", type=Path, required=True, help="document whose marked section is rewritten")
    parser.add_argument("--cache", type=Path, default=Path("accuracy.json"), help="figures so far; default %(default)s")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime")
    options = parser.parse_args(arguments)
    try:
        split_document(options.output)  # before an hour of measuring
        networks = find_networks(options.data / "onnx")
        rows = measure_rows(networks, options.data / "images", ScoreCache(options.cache), options.threads)
        rewrite_section(options.output, render(rows))
    except DaqError as error:
        print(f"accuracy_table: {error}", file=sys.stderr)
        return error.exit_code
    return 0


__all__ = [
    "BEGIN",
    "BITS",
    "CONFIGURATIONS",
    "DATA_SETS",
    "END",
    "Network",
    "Row",
    "ScoreCache",
    "find_networks",
    "main",
    "measure_rows",
    "render",
    "rewrite_section",
    "split_document",
]


if __name__ == "__main__":
    sys.exit(main())
