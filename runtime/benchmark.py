"""How fast networks run, how much memory they take, and how they compare.

Runs are interleaved, A-B-A-B, so that a machine that slows down does so for every network, and ratios are taken pair by
pair. Percentiles are given only where the sample is large enough to have them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from daq_deploy.errors import OptionError
from daq_deploy.metrics.pixels import Pixels, to_network

from .machine import Machine, this_machine
from .memory import peak_memory
from .session import Session, SessionDescription
from .synthetic import smooth_image

P90_RUNS = 10
"""Fewest runs for which a 90th percentile is given."""
P99_RUNS = 1000
"""Fewest runs for which a 99th percentile is given."""
STEADY_VARIATION = 0.05
"""Largest coefficient of variation that passes without a warning."""

_WARMUP_RUNS = 3
_WARMUP_SECONDS = 0.3
_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """Run times of one network, in milliseconds."""

    p50: float
    p90: float | None
    """None below P90_RUNS runs."""
    p99: float | None
    """None below P99_RUNS runs."""
    variation: float
    """Coefficient of variation: standard deviation over mean."""
    ratio: float
    """Median, pair by pair, of this network's time over the first network's."""
    samples: tuple[float, ...]
    """Every run, in order."""


@dataclass(frozen=True)
class ModelResult:
    """What was measured of one network."""

    path: str
    file_bytes: int
    session: SessionDescription
    output_width: int
    output_height: int
    timing: Timing
    megapixels_per_second: float
    """Output pixels over the median time, in millions."""
    peak_memory_bytes: int | None
    """Main memory above a process that has loaded everything but the network; None where it cannot be measured."""


@dataclass(frozen=True)
class Benchmark:
    """What was measured, on what."""

    machine: Machine
    onnxruntime_version: str
    width: int
    height: int
    input: str
    """`smooth synthetic picture` or `given picture`."""
    models: tuple[ModelResult, ...]

    def to_json(self) -> str:
        """Return everything, raw samples included."""
        return json.dumps(asdict(self), indent=2)

    def warnings(self) -> tuple[str, ...]:
        """Return what makes the figures doubtful, one line each."""
        unsteady = [
            f"{result.path}: run times vary by {result.timing.variation:.0%}; close other programs and measure again"
            for result in self.models
            if result.timing.variation > STEADY_VARIATION
        ]
        fallen = [
            f"{result.path}: not every node ran on the provider asked for"
            for result in self.models
            if result.session.fallback_nodes is None or result.session.fallback_nodes
        ]
        return (*unsteady, *fallen)

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return the table as text, headings first."""
        headings = ("model", "file", "p50 ms", "p90 ms", "p99 ms", "varies", "MP/s", "memory", "ratio")
        names = [Path(result.path).name for result in self.models]
        if len(set(names)) < len(names):
            names = [result.path for result in self.models]
        return (headings, *(_row(name, result) for name, result in zip(names, self.models, strict=True)))

    def conditions(self) -> str:
        """Return one line that says under which conditions the table holds."""
        session = self.models[0].session
        threads = "default threads" if session.threads is None else f"threads: {session.threads}"
        sets = sorted({result.session.instruction_set or "" for result in self.models} - {""})
        kernels = f"native kernels {', '.join(sets)}, " if sets else ""
        where = " ".join(self.machine.gpus) if session.provider == "cuda" and self.machine.gpus else self.machine.cpu
        return (
            f"input {self.width}x{self.height}, {self.input}; {len(self.models[0].timing.samples)} interleaved runs; "
            f"{session.provider}, {threads}, {kernels}ONNX Runtime {self.onnxruntime_version}, {where}"
        )


def _row(name: str, result: ModelResult) -> tuple[str, ...]:
    timing = result.timing
    memory = result.peak_memory_bytes
    return (
        name,
        f"{result.file_bytes / 1e3:,.0f} kB",
        f"{timing.p50:.2f}",
        "n too small" if timing.p90 is None else f"{timing.p90:.2f}",
        "n too small" if timing.p99 is None else f"{timing.p99:.2f}",
        f"{timing.variation:.1%}",
        f"{result.megapixels_per_second:.2f}",
        "not measured" if memory is None else f"{memory / 1e6:,.0f} MB",
        f"{timing.ratio:.3f}",
    )


def summarize(samples: Sequence[float], first: Sequence[float]) -> Timing:
    """Turn run times of one network, and of the first network in the same rounds, into figures."""
    times = np.array(samples)
    runs = len(times)
    return Timing(
        p50=float(np.median(times)),
        p90=float(np.percentile(times, 90)) if runs >= P90_RUNS else None,
        p99=float(np.percentile(times, 99)) if runs >= P99_RUNS else None,
        variation=float(times.std() / times.mean()),
        ratio=float(np.median(times / np.array(first))),
        samples=tuple(samples),
    )


def measure(
    models: Sequence[str | Path],
    *,
    provider: str = "cpu",
    threads: int | None = None,
    native: bool = True,
    allow_fallback: bool = False,
    size: tuple[int, int] = (320, 180),
    picture: Pixels | None = None,
    duration: float = 3.0,
    iterations: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Benchmark:
    """Measure networks side by side on one picture.

    Args:
        models: ONNX files; the first is the one the others are compared with.
        provider: `cpu` or `cuda`; on CUDA the picture lies on the device before the clock starts.
        threads: threads within a node; None leaves it to ONNX Runtime.
        native: use the native kernels where they are installed.
        allow_fallback: accept nodes that run on the CPU.
        size: width and height of the smooth synthetic picture.
        picture: uint8 (H, W, 3) to run on instead.
        duration: seconds that each network runs at least.
        iterations: runs of each network, instead of `duration`.
        progress: called after every round with the fraction done, 0..1.

    Raises:
        OptionError: no model, or a number that is not positive.
        DaqError: a model cannot be opened or run; see Session.
    """
    if not models:
        raise OptionError("name at least one model to measure")
    for option, value in (("--duration", duration), ("--iterations", iterations), ("--size", min(size))):
        if value is not None and not value > 0:
            raise OptionError(f"{option} {value}: must be more than 0")
    width, height = size if picture is None else (picture.shape[1], picture.shape[0])
    with ExitStack() as stack:
        paths = [Path(model) for model in models]
        sessions = [
            stack.enter_context(Session(path, provider, threads, allow_fallback, native=native)) for path in paths
        ]
        images = [
            smooth_image(height, width, session.value_range, session.channels)
            if picture is None
            else to_network(picture, session.value_range)
            for session in sessions
        ]
        outputs = [session.run(image).shape[2:] for session, image in zip(sessions, images, strict=True)]
        runs = [session.bind(image) for session, image in zip(sessions, images, strict=True)]
        for run in runs:
            warm_up(run)
        samples = interleave([timed(run) for run in runs], duration, iterations, progress)
        descriptions = [session.describe() for session in sessions]
    results = []
    for path, description, output, times in zip(paths, descriptions, outputs, samples, strict=True):
        timing = summarize(times, samples[0])
        results.append(
            ModelResult(
                path=str(path),
                file_bytes=path.stat().st_size,
                session=description,
                output_width=output[1],
                output_height=output[0],
                timing=timing,
                megapixels_per_second=output[0] * output[1] / timing.p50 / 1e3,
                peak_memory_bytes=peak_memory(path, height, width, provider, threads, native),
            )
        )
    return Benchmark(
        machine=this_machine(),
        onnxruntime_version=onnxruntime.__version__,
        width=width,
        height=height,
        input="smooth synthetic picture" if picture is None else "given picture",
        models=tuple(results),
    )


def warm_up(run: Callable[[], object]) -> None:
    """Run until memory is allocated, kernels are chosen and clocks are up."""
    start = time.perf_counter()
    runs = 0
    while runs < _WARMUP_RUNS or time.perf_counter() - start < _WARMUP_SECONDS:
        run()
        runs += 1


def timed(run: Callable[[], None]) -> Callable[[], float]:
    """Return a function that runs and returns how many milliseconds that took."""

    def timed_run() -> float:
        start = time.perf_counter_ns()
        run()
        return (time.perf_counter_ns() - start) / 1e6

    return timed_run


def interleave(
    runs: Sequence[Callable[[], float]],
    duration: float = 3.0,
    iterations: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[list[float]]:
    """Call every function once a round, and return the milliseconds that they return, a list for each function.

    Args:
        runs: run once and return the time.
        duration: seconds that each runs at least.
        iterations: rounds, instead of `duration`.
        progress: called after every round with the fraction done, 0..1.
    """
    samples: list[list[float]] = [[] for _ in runs]
    totals = [0.0] * len(runs)
    done = 0.0
    while done < 1:
        for index, run in enumerate(runs):
            elapsed = run()
            samples[index].append(elapsed)
            totals[index] += elapsed
        rounds = len(samples[0])
        by_time = min(min(totals) / (1e3 * duration), rounds / _FEWEST_ROUNDS)
        done = by_time if iterations is None else rounds / iterations
        if progress is not None:
            progress(min(done, 1.0))
    return samples


__all__ = [
    "P90_RUNS",
    "P99_RUNS",
    "STEADY_VARIATION",
    "Benchmark",
    "ModelResult",
    "Timing",
    "interleave",
    "measure",
    "summarize",
    "timed",
    "warm_up",
]
