"""The accuracy section of docs/results.md: `python -m daq_deploy.runtime.accuracy_table --data FOLDER -o docs/results.md`.

Every network of FOLDER/onnx, and those that ship where torch is installed to export them, are quantized in memory in
every way of `configurations.py` at every bit-width and evaluated on FOLDER/images/Set5 and Set14; FOLDER/images/train is
what some calibrate on. Figures are kept in a file as they come, by network, configuration and versions: an interrupted
command goes on where it stopped. Filters say what is measured now; the tables show all that the file holds. After a
change of the quantizer that has no version of its own, remove the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

from daq_deploy.config import FLOAT_BITS
from daq_deploy.errors import DaqError, OptionError
from daq_deploy.evaluation import Scores, evaluate
from daq_deploy.image_pairs import find_image_pairs

from .choices import chosen
from .configurations import BITS, Configuration, FloatNetwork, Network, configurations
from .figure_cache import FigureCache
from .images import read_rgb
from .results_document import Block, render, rewrite_section, split_document

DATA_SETS = ("Set5", "Set14")


class ScoreCache(FigureCache[Scores]):
    """Scores by what they depend on, kept in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, lambda values: Scores(**values))


@dataclass(frozen=True)
class Selection:
    """What is measured."""

    networks: tuple[Network, ...]
    configurations: Mapping[str, Configuration]
    bits: tuple[int, ...]
    data_sets: tuple[str, ...]

    def jobs(self) -> Iterator[tuple[Network, str, Configuration, int]]:
        """Yield what is to be run, the float networks included, as network, name, configuration and bits."""
        for network in self.networks:
            yield network, "float", FloatNetwork(), FLOAT_BITS
            for name, configuration in self.configurations.items():
                for bits in self.bits:
                    if bits in configuration.bits:
                        yield network, name, configuration, bits


def cache_key(network: Network, configuration: Configuration, bits: int, data_set: str) -> str:
    """Return what figures depend on, as one line."""
    versions = f"daq-deploy {version('daq-deploy')} onnxruntime {onnxruntime.__version__}"
    return f"{data_set} {network.sha256} {configuration.to_json(bits)} {versions}"


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


def measure(selection: Selection, images: Path, cache: ScoreCache, threads: int | None) -> None:
    """Put the figures of a selection, and of its float networks, into the cache as far as they are not there.

    Args:
        selection: what is measured.
        images: folder of the data sets.
        cache: figures that are known already.
        threads: threads within a node; None leaves it to ONNX Runtime.

    Raises:
        DaqError: a network cannot be quantized or does not run on an image, or the images are missing.
    """
    for network, name, configuration, bits in selection.jobs():
        keys = {data_set: cache_key(network, configuration, bits, data_set) for data_set in selection.data_sets}
        missing = {data_set: key for data_set, key in keys.items() if cache.get(key) is None}
        if not missing:
            continue
        runner = configuration.open(network, bits, threads)
        label = name if bits == FLOAT_BITS else f"{name} W{bits}A{bits}"
        for data_set, key in missing.items():
            pairs = find_image_pairs(images / data_set, network.scale, read_rgb)
            scores = evaluate(runner, pairs, f"{network.name} {label}").mean
            cache.put(key, scores)
            print(f"{data_set} {network.name} {label}: {scores.psnr_y:.3f} dB", file=sys.stderr, flush=True)


def known_blocks(networks: Sequence[Network], compared: Mapping[str, Configuration], cache: ScoreCache) -> list[Block]:
    """Return the tables of all figures in the cache; networks, configurations and bits without any are left out."""
    blocks = []
    for data_set in DATA_SETS:
        for network in networks:
            float_scores = cache.get(cache_key(network, FloatNetwork(), FLOAT_BITS, data_set))
            rows: dict[str, dict[int, Scores]] = {}
            for name, configuration in compared.items():
                for bits in configuration.bits:
                    scores = cache.get(cache_key(network, configuration, bits, data_set))
                    if scores is not None:
                        rows.setdefault(name, {})[bits] = scores
            if float_scores is not None and rows:
                blocks.append(Block(data_set, network.name, float_scores, rows))
    return blocks


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m daq_deploy.runtime.accuracy_table", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with onnx/ and images/Set5, Set14 and train")
    parser.add_argument("-o", "--output", type=Path, required=True, help="document whose marked section is rewritten")
    parser.add_argument("--cache", type=Path, default=Path("accuracy.json"), help="figures so far; default %(default)s")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime")
    parser.add_argument("--networks", metavar="NAME,..", help="measure only these networks")
    parser.add_argument("--configurations", metavar="NAME,..", help="measure only these configurations")
    parser.add_argument("--bits", metavar="BITS,..", help="measure only at these bit-widths")
    parser.add_argument("--sets", metavar="NAME,..", help="measure only on these data sets")
    options = parser.parse_args(arguments)
    try:
        split_document(options.output)  # before an hour of measuring
        images, cache = options.data / "images", ScoreCache(options.cache)
        compared = configurations(images / "train")
        names = chosen("--configurations", options.configurations, list(compared))
        bits = chosen("--bits", options.bits, [str(number) for number in BITS])
        data_sets = chosen("--sets", options.sets, DATA_SETS)
        networks = find_networks(options.data / "onnx")
        network_names = chosen("--networks", options.networks, [network.name for network in networks])
        selection = Selection(
            networks=tuple(network for network in networks if network.name in network_names),
            configurations={name: compared[name] for name in names},
            bits=tuple(int(number) for number in bits),
            data_sets=tuple(data_sets),
        )
        measure(selection, images, cache, options.threads)
        rewrite_section(options.output, render(known_blocks(networks, compared, cache)))
    except DaqError as error:
        print(f"accuracy_table: {error}", file=sys.stderr)
        return error.exit_code
    return 0


__all__ = [
    "DATA_SETS",
    "ScoreCache",
    "Selection",
    "cache_key",
    "find_networks",
    "known_blocks",
    "main",
    "measure",
]


if __name__ == "__main__":
    sys.exit(main())
