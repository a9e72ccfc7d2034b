"""Static ranges for a DAQ network: statistics of many pictures added up."""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.errors import ModelError, OptionError
from daq_deploy.metrics.pixels import to_network
from daq_deploy.model_file import read_proto
from daq_deploy.numerics import ChannelStatistics
from daq_deploy.passes.freeze_ranges import FreezeRanges
from daq_deploy.passes.inline_functions import InlineFunctions

from .images import SUFFIXES, read_picture
from .shared_ranges import RangeMeter, Window

LARGEST_SIDE = 512
"""Of a picture that is larger its centre is measured."""


def freeze(
    model: Path, images: Path, threads: int | None = None, progress: Callable[[float], None] = lambda share: None
) -> tuple[ir.Model, int]:
    """Return a DAQ network with the ranges that a folder of pictures has together, and how many pictures there were.

    Args:
        model: a DAQ file.
        images: the folder.
        threads: threads within a node; None leaves it to ONNX Runtime.
        progress: told the share that is done.

    Raises:
        ModelError: the file has no DAQ blocks, or the network does not run on a picture.
        OptionError: the folder does not exist or has no pictures.
        ImageError: a picture cannot be read.
    """
    if not images.is_dir():
        raise OptionError(f"--images {images}: no such folder")
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise OptionError(f"--images {images}: has no pictures ({', '.join(SUFFIXES)})")
    proto = read_proto(model)
    frozen: ir.Model = ir.from_proto(proto)
    meter = RangeMeter(proto, str(model), threads=threads)
    if not meter.has_blocks:
        raise ModelError(f"{model}: has no feature maps whose ranges are found at run time; give a DAQ file")
    found: list[ChannelStatistics] = []
    for index, path in enumerate(paths):
        pixels = _centre(read_picture(path).rgb)
        whole = Window(0, 0, pixels.shape[0], pixels.shape[1])
        statistics = meter.measure(to_network(pixels, meter.value_range), whole)
        found = list(map(add, found, statistics)) if found else statistics
        progress((index + 1) / len(paths))
    FreezeRanges(meter.ranges(found))(frozen)
    InlineFunctions()(frozen)  # that of companded levels is left
    meter.close()
    frozen.metadata_props["daq.ranges"] = "frozen"
    return frozen, len(paths)


def _centre(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    top, left = (max(0, size - LARGEST_SIDE) // 2 for size in pixels.shape[:2])
    return pixels[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]


__all__ = ["LARGEST_SIDE", "freeze"]
