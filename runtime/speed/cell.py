"""One cell of the speed table: a network, a size of picture and a number of threads, everybody on it in turn."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daq_deploy.errors import DaqError
from daq_deploy.runtime.benchmark import Timing, interleave, summarize

from .contestants import Contestant
from .roofline import Peaks, Work, measure_peaks
from .worker import Worker

FEWEST_ROUNDS, MOST_ROUNDS = 5, 100
_MEMORY_FACTOR = 2.5
"""A contestant is opened beside the others only where so many times the float network's memory is free."""
_MEMORY_INFORMATION = Path("/proc/meminfo")


@dataclass(frozen=True)
class Place:
    """Which cell."""

    network: str
    width: int
    height: int
    threads: int


@dataclass(frozen=True)
class Entry:
    """What one contestant reached."""

    name: str
    timing: Timing
    output_width: int
    output_height: int
    peak_memory_bytes: int | None
    """Main memory above a process that has loaded everything but the network; None where it cannot be measured."""
    group: int
    """Contestants of one group took turns; there is more than one where memory does not hold all at once."""

    @property
    def megapixels_per_second(self) -> float:
        """Output pixels over the median time, in millions."""
        return self.output_width * self.output_height / self.timing.p50 / 1e3


@dataclass(frozen=True)
class Cell:
    """What was measured, and with what."""

    place: Place
    sha256: str
    """Of the float network."""
    conditions: str
    """Versions, processor and native library, as one line."""
    tiers: tuple[str, ...]
    """Instruction sets of the native kernels, the best first."""
    work: Work
    peaks: Peaks
    entries: tuple[Entry, ...]
    """The float network's first."""
    left_out: Mapping[str, str]
    """Why a contestant is not there, by its name."""

    def entry(self, name: str) -> Entry | None:
        """Return the figures of a contestant, None where it was left out."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def times_faster(self, name: str, rival: str) -> float | None:
        """Return how many times as fast as a rival a contestant is, None where one is missing.

        It is the median of the ratios pair by pair; where the two did not take turns, by way of the float network.
        """
        own, other = self.entry(name), self.entry(rival)
        if own is None or other is None:
            return None
        if own.group == other.group:
            return float(np.median(np.array(other.timing.samples) / np.array(own.timing.samples)))
        return other.timing.ratio / own.timing.ratio

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Cell:
        """Turn what `dataclasses.asdict` gave back into a cell."""
        parts = {
            "place": Place(**values["place"]),
            "work": Work(**values["work"]),
            "peaks": Peaks(**values["peaks"]),
            "tiers": tuple(values["tiers"]),
            "entries": tuple(_entry_from_json(entry) for entry in values["entries"]),
        }
        return cls(**values | parts)


def _entry_from_json(values: dict[str, Any]) -> Entry:
    timing = values["timing"]
    return Entry(**values | {"timing": Timing(**timing | {"samples": tuple(timing["samples"])})})


@dataclass(frozen=True)
class Measured:
    """What `measure` found."""

    peaks: Peaks
    entries: tuple[Entry, ...]
    left_out: Mapping[str, str]


def measure(
    place: Place, contestants: Sequence[Contestant], files: Mapping[str, Path], value_range: float, seconds: float
) -> Measured:
    """Let contestants take turns, run by run.

    Args:
        place: size of the picture and threads.
        contestants: the first is what the others are compared with; it takes part in every group.
        files: what `write_files` gave.
        value_range: largest pixel value.
        seconds: of running, for a group; at least FEWEST_ROUNDS rounds and at most MOST_ROUNDS.

    Raises:
        ModelError: the first contestant cannot run.
    """
    first, *waiting = contestants
    entries: list[Entry] = []
    left_out: dict[str, str] = {}
    peaks = measure_peaks(place.threads)
    group = 0
    while waiting or not entries:
        with ExitStack() as stack:

            def open_worker(contestant: Contestant, stack: ExitStack = stack) -> Worker:
                file = files[contestant.file]
                worker = Worker(contestant, file, place.height, place.width, value_range, place.threads)
                return stack.enter_context(worker)

            workers = [open_worker(first)]
            workers[0].run()
            needed = _MEMORY_FACTOR * (workers[0].opening.peak_memory_bytes or 0)
            while waiting and _available_memory() > needed:
                contestant = waiting.pop(0)
                try:
                    worker = open_worker(contestant)
                    worker.run()
                    workers.append(worker)
                except DaqError as error:
                    left_out[contestant.name] = str(error).removeprefix(f"{contestant.name}: ")
            if len(workers) == 1 and waiting:
                free = _available_memory()
                reason = f"needs about {needed / 1e9:.0f} GB beside the float network, and {free / 1e9:.0f} GB are free"
                left_out |= {contestant.name: reason for contestant in waiting}
                waiting = []
            if len(workers) > 1 or not entries:
                found = _take_turns(workers, seconds, group)
                entries += found if group == 0 else found[1:]
        group += 1
    return Measured(peaks, tuple(entries), left_out)


def _take_turns(workers: Sequence[Worker], seconds: float, group: int) -> list[Entry]:
    # Everybody has run once to open and once to see that it can: these are the third runs.
    milliseconds = sum(worker.run() for worker in workers)
    rounds = min(max(FEWEST_ROUNDS, math.ceil(seconds * 1e3 / milliseconds)), MOST_ROUNDS)
    samples = interleave([worker.run for worker in workers], iterations=rounds)
    return [
        Entry(
            name=worker.contestant.name,
            timing=summarize(times, samples[0]),
            output_width=worker.opening.output_width,
            output_height=worker.opening.output_height,
            peak_memory_bytes=worker.opening.peak_memory_bytes,
            group=group,
        )
        for worker, times in zip(workers, samples, strict=True)
    ]


def _available_memory() -> float:
    """Bytes that can be taken without swapping; without limit on systems that do not say."""
    if not _MEMORY_INFORMATION.exists():
        return math.inf
    entries = dict(line.split(":") for line in _MEMORY_INFORMATION.read_text().splitlines())
    return float(entries["MemAvailable"].split()[0]) * 1024


def report(cell: Cell, file: Any = sys.stderr) -> None:
    """Print the cell as a few lines, for whoever waits."""
    place = cell.place
    print(f"{place.network} {place.width}x{place.height}, threads: {place.threads}", file=file)
    for entry in cell.entries:
        print(f"  {entry.name:36} {entry.timing.p50:9.2f} ms  {1 / entry.timing.ratio:6.2f} x float", file=file)
    for name, reason in cell.left_out.items():
        print(f"  {name:36} left out: {reason}", file=file)


__all__ = ["FEWEST_ROUNDS", "MOST_ROUNDS", "Cell", "Entry", "Measured", "Place", "measure", "report"]
