"""The values of feature maps, channel by channel, and the ranges that a DAQ file gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq_deploy.html_report import ChannelRanges
from daq_deploy.passes.blocks import DaqBlock
from daq_deploy.validation import Picture

from .session import Session

BINS = 48
"""Rows of a heat map."""
_SMALLEST_SHARE = 1e-3
"""Share of a channel's values below which a cell of the heat map stays empty."""


def channel_ranges(
    path: Path, probe: Picture, blocks: Sequence[DaqBlock], threads: int | None = None
) -> list[ChannelRanges]:
    """Run a DAQ file on a picture and return, for each of its blocks, the values and the ranges of its channels."""
    names = [
        str(value.name)
        for block in blocks
        for value in (block.feature_map, block.lo, block.step, block.span)
        if value is not None and not value.is_graph_input()
    ]
    with Session(path, threads=threads, extra_outputs=list(dict.fromkeys(names)), native=False) as session:
        values = session.run_outputs(probe.pixels, list(dict.fromkeys(names)))
    found = []
    for block in blocks:
        of_picture = block.feature_map.is_graph_input()
        feature_map = probe.pixels[0] if of_picture else values[str(block.feature_map.name)][0]
        lo, step = (values[str(value.name)].reshape(-1) for value in (block.lo, block.step))
        last_code = (2.0 ** np.asarray(block.bits) - 1).astype(np.float32)
        span = step * last_code if block.span is None else values[str(block.span.name)].reshape(-1)
        found.append(_ranges_of(feature_map, lo, lo + span))
    return found


def _ranges_of(
    feature_map: npt.NDArray[np.float32],
    lo: npt.NDArray[np.float32],
    hi: npt.NDArray[np.float32],
) -> ChannelRanges:
    """Return the ranges of a feature map (C, H, W) whose lowest and highest levels are `lo` and `hi` (C,)."""
    channels = len(feature_map)
    values = feature_map.reshape(channels, -1)
    bottom, top = float(min(values.min(), lo.min())), float(max(values.max(), hi.max()))
    top = max(top, bottom + 1e-6 * max(1.0, abs(bottom)))
    bins = np.clip((BINS * ((values - bottom) / (top - bottom))).astype(np.int64), 0, BINS - 1)
    flat = (bins + BINS * np.arange(channels)[:, None]).ravel()
    share = np.bincount(flat, minlength=channels * BINS).reshape(channels, BINS) / values.shape[1]
    level = 15 * (1 - np.log(np.maximum(share, _SMALLEST_SHARE / 2)) / np.log(_SMALLEST_SHARE))
    density = np.where(share >= _SMALLEST_SHARE, np.clip(np.rint(level), 1, 15), 0).astype(np.uint8)
    return ChannelRanges(values.min(axis=1), values.max(axis=1), lo, hi, bottom, top, density)


__all__ = ["channel_ranges"]
