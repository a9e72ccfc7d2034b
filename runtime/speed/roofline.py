"""What the processor could do at best, and how much of it a network asks for."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from daq_deploy.runtime.benchmark import timed
from daq_deploy.runtime.configurations import Network
from daq_deploy.runtime.library import library_path
from daq_deploy.runtime.session import Session
from daq_deploy.runtime.synthetic import smooth_image

_SECONDS = 0.3
_COPIES = 10
_ARRAY_BYTES = 128 * 2**20
"""Of each of the two arrays that a thread copies between: beyond every cache."""
_SIDE = 64
_HALF_BYTES = 2


@dataclass(frozen=True)
class Peaks:
    """What a number of threads reach in loops that do nothing else."""

    int8_operations: float | None
    """Multiplications and additions of 8-bit integers a second; None without the native library."""
    memory_bytes: float
    """Bytes a second read and written, in copies of a large array; the best copy."""


@dataclass(frozen=True)
class Work:
    """What the convolutions of a network have to do for each pixel of the input picture."""

    operations: float
    """Multiplications and additions."""
    memory_bytes: float
    """Half-precision values: each convolution's input read once and its output written once."""


def measure_peaks(threads: int) -> Peaks:
    """Measure both peaks on this machine, now."""
    path = library_path()
    return Peaks(None if path is None else _int8_peak(path, threads), _memory_peak(threads))


def _int8_peak(path: Path, threads: int) -> float:
    loop = ctypes.CDLL(str(path)).daq_native_int8_peak
    loop.argtypes, loop.restype = [ctypes.c_double], ctypes.c_double
    return sum(_on_threads(lambda: float(loop(_SECONDS)), threads))


def _memory_peak(threads: int) -> float:
    def copy() -> float:
        source, target = (np.full(_ARRAY_BYTES, value, np.uint8) for value in (1, 2))
        timed_copy = timed(lambda: np.copyto(target, source))
        return 2 * _ARRAY_BYTES / min(timed_copy() for _ in range(_COPIES)) * 1e3

    return sum(_on_threads(copy, threads))


def _on_threads(work: Callable[[], float], threads: int) -> list[float]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda _: work(), range(threads)))


def work_of(network: Network) -> Work:
    """Count what the convolutions of a network do, by a run on a small picture."""
    model = onnx.ModelProto.FromString(network.to_bytes())
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    computed = {name for node in model.graph.node for name in node.output}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    names = list(dict.fromkeys(name for node in convolutions for name in (node.input[0], node.output[0])))
    names = [name for name in names if name in computed]
    with Session(model, threads=1, extra_outputs=names, native=False) as session:
        image = smooth_image(_SIDE, _SIDE, session.value_range, session.channels)
        sizes = {name: int(values.size) for name, values in session.run_outputs(image, names).items()}
    operations = memory = 0
    for node in convolutions:
        output = sizes[node.output[0]]
        _, *window = weights[node.input[1]]
        operations += 2 * output * int(np.prod(window))
        memory += _HALF_BYTES * (sizes.get(node.input[0], image.size) + output)
    return Work(operations / _SIDE**2, memory / _SIDE**2)


__all__ = ["Peaks", "Work", "measure_peaks", "work_of"]
