"""The section of docs/benchmark.md: `python -m daq_deploy.runtime.speed --data FOLDER -o docs/benchmark.md`.

Every network of `networks.py` is run in every way of `contestants.py`, on pictures of several sizes and with several threads.
Figures, raw samples included, are kept in a file as they come: an interrupted command goes on where it stopped, and what was
measured with other versions, another native library or another network is measured again. Filters say what is measured now;
the document shows all that the file holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from daq_deploy.errors import DaqError
from daq_deploy.runtime.choices import chosen
from daq_deploy.runtime.configurations import Network
from daq_deploy.runtime.figure_cache import FigureCache
from daq_deploy.runtime.library import INSTRUCTION_SETS, library_path, load_library
from daq_deploy.runtime.machine import this_machine
from daq_deploy.runtime.results_document import rewrite_section, split_document
from daq_deploy.runtime.session import Session

from .cell import Cell, Place, measure, report
from .contestants import contestants, write_files
from .document import MARKS, render
from .networks import NAMES, find_network
from .roofline import work_of

SIZES = ("128x128", "320x180", "640x360", "1280x720")
THREADS = ("1", "2")


def native_tiers() -> tuple[str, ...]:
    """Return the instruction sets that this processor has and DAQ_ISA allows, the best first; none without the library."""
    library = load_library()
    return () if library is None else INSTRUCTION_SETS[INSTRUCTION_SETS.index(library.isa) :]


def conditions() -> str:
    """Return what figures depend on beside the network and the place, as one line."""
    machine = this_machine()
    packages = [f"{name} {_version(name)}" for name in ("daq-deploy", "onnxruntime", "openvino")]
    library = library_path()
    kernels = "no native library" if library is None else f"native library {_short_hash(library.read_bytes())}"
    sets = ", ".join(machine.instruction_sets)
    return f"{', '.join(packages)}, {kernels} on {machine.cpu} (cores: {machine.cores}; {sets})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def measure_network(
    network: Network, places: Sequence[Place], cache: FigureCache[Cell], seconds: float, again: bool
) -> None:
    """Put the cells of a network into the cache as far as they are not there.

    Args:
        network: float.
        places: cells, all of this network.
        cache: what is known already.
        seconds: of running, for each cell, at least.
        again: measure what is known too.

    Raises:
        DaqError: the float network cannot run.
    """
    under = conditions()

    def known(place: Place) -> bool:
        cell = cache.get(key_of(place))
        return cell is not None and (cell.sha256, cell.conditions) == (network.sha256, under)

    missing = [place for place in places if again or not known(place)]
    if not missing:
        return
    tiers = native_tiers()
    work = work_of(network)
    with TemporaryDirectory() as folder:
        files = write_files(network, Path(folder))
        with Session(files["float"], threads=1) as session:
            value_range = session.value_range
        for place in missing:
            measured = measure(place, contestants(tiers), files, value_range, seconds)
            cell = Cell(
                place=place,
                sha256=network.sha256,
                conditions=under,
                tiers=tiers,
                work=work,
                peaks=measured.peaks,
                entries=measured.entries,
                left_out=measured.left_out,
            )
            cache.put(key_of(place), cell)
            report(cell)


def key_of(place: Place) -> str:
    """Return the name of a cell in the cache."""
    return json.dumps([place.network, place.width, place.height, place.threads])


def known_cells(cache: FigureCache[Cell]) -> list[Cell]:
    """Return all cells, in the order of the document."""
    return sorted(
        cache,
        key=lambda cell: (NAMES.index(cell.place.network), cell.place.width * cell.place.height, cell.place.threads),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m daq_deploy.runtime.speed", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with onnx/; networks that are not there are left out"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="document whose marked section is rewritten")
    parser.add_argument(
        "--cache", type=Path, default=Path("benchmark.json"), help="figures so far; default %(default)s"
    )
    parser.add_argument("--networks", metavar="NAME,..", help=f"measure only these: {', '.join(NAMES)}")
    parser.add_argument("--sizes", metavar="WxH,..", help=f"measure only these: {', '.join(SIZES)}")
    parser.add_argument("--threads", metavar="N,..", help=f"measure only with so many: {', '.join(THREADS)}")
    parser.add_argument(
        "--seconds", type=float, default=60, help="of running, for each cell, at least; default %(default)s"
    )
    parser.add_argument("--again", action="store_true", help="measure what is known already too")
    options = parser.parse_args(arguments)
    try:
        split_document(options.output, MARKS)  # before an hour of measuring
        cache = FigureCache(options.cache, Cell.from_json)
        names = chosen("--networks", options.networks, NAMES)
        sizes = [size.split("x") for size in chosen("--sizes", options.sizes, SIZES)]
        threads = chosen("--threads", options.threads, THREADS)
        for name in names:
            network = find_network(name, options.data / "onnx")
            if network is not None:
                places = [Place(name, int(w), int(h), int(number)) for w, h in sizes for number in threads]
                measure_network(network, places, cache, options.seconds, options.again)
                rewrite_section(options.output, render(known_cells(cache)), MARKS)
    except DaqError as error:
        print(f"speed: {error}", file=sys.stderr)
        return error.exit_code
    return 0


__all__ = ["SIZES", "THREADS", "conditions", "key_of", "known_cells", "main", "measure_network", "native_tiers"]


if __name__ == "__main__":
    sys.exit(main())
