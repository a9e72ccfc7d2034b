"""One range for all tiles of a picture, or for many pictures: statistics are gathered over windows and added up.

A DAQ network takes the range of every channel from the picture it is given; tiles run one by one would each take their own,
and show seams that no overlap cures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from daq_deploy.numerics import ChannelStatistics, channel_range
from daq_deploy.numerics.companding import highest_position
from daq_deploy.passes.blocks import DaqBlock, find_dynamic_blocks
from daq_deploy.passes.expose_ranges import range_values
from daq_deploy.passes.measure_statistics import WINDOW, MeasureStatistics

from .session import Session

Image = npt.NDArray[np.float32]
Ranges = dict[str, npt.NDArray[np.float32]]
"""lo, span and origin (1, C, 1, 1) and step (C,) of each DAQ block, by the name of the value in the graph."""


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in pixels; bottom and right are not part of it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def rows(self) -> slice:
        """Index of its rows in an array (H, W, ...)."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Index of its columns in an array (H, W, ...)."""
        return slice(self.left, self.right)

    def times(self, scale: int) -> Window:
        """Return the rectangle of the picture `scale` times as wide and as high."""
        return Window(self.top * scale, self.left * scale, self.bottom * scale, self.right * scale)

    def grown(self, by: int, height: int, width: int) -> Window:
        """Return the rectangle grown on each side, as far as a picture of this height and width goes."""
        return Window(
            max(0, self.top - by), max(0, self.left - by), min(height, self.bottom + by), min(width, self.right + by)
        )

    def within(self, other: Window) -> Window:
        """Return the same rectangle as seen from the top left of another."""
        return Window(self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left)


class RangeMeter:
    """Gathers the statistics of the feature maps that a DAQ network quantizes, and makes ranges of them.

    Args:
        model: a DAQ network that holds its weights.
        name: what messages call it.
        provider, threads, allow_fallback, native: as `Session` takes them.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        name: str,
        provider: str = "cpu",
        threads: int | None = None,
        allow_fallback: bool = False,
        native: bool = True,
    ) -> None:
        graph_model: ir.Model = ir.from_proto(model)
        self._blocks = find_dynamic_blocks(graph_model)
        # The pass renames and removes what blocks are made of.
        self._names = [{kind: str(value.name) for kind, value in range_values(block).items()} for block in self._blocks]
        self.has_blocks = bool(self._blocks)
        """Whether there is anything to measure."""
        MeasureStatistics()(graph_model)
        self._outputs = [str(value.name) for value in graph_model.graph.outputs[1:]]
        inputs = [WINDOW] if self._blocks else []
        self._session = Session(
            ir.to_proto(graph_model), provider, threads, allow_fallback, extra_inputs=inputs, native=native
        )
        self._session.name = name

    @property
    def value_range(self) -> float:
        """Largest pixel value of the network's input."""
        return self._session.value_range

    def measure(self, picture: Image, window: Window) -> list[ChannelStatistics]:
        """Run the network on float32 (1, C, H, W) and return each block's statistics over a window of it.

        Raises:
            ImageError, ModelError: as `Session.run`.
        """
        corners = np.array([window.top, window.left, window.bottom, window.right], np.int64)
        figures = self._session.run_outputs(picture, self._outputs, {WINDOW: corners})
        arrays = [figures[name] for name in self._outputs]
        return [_statistics(int(count[0]), five) for count, five in zip(arrays[::2], arrays[1::2], strict=True)]

    def ranges(self, statistics: Sequence[ChannelStatistics]) -> Ranges:
        """Return the ranges that blocks of these statistics have."""
        ranges: Ranges = {}
        for block, names, of_block in zip(self._blocks, self._names, statistics, strict=True):
            arrays = _ranges_of(block, of_block)
            ranges.update({name: arrays[kind] for kind, name in names.items()})
        return ranges

    def close(self) -> None:
        """Give the memory back."""
        self._session.close()


def _statistics(count: int, five: npt.NDArray[np.float32]) -> ChannelStatistics:
    positives, mean, variance, minimum, maximum = five[:, :, :, 0, 0].astype(np.float64)
    return ChannelStatistics(count, positives, mean * count, (variance + mean**2) * count, minimum, maximum)


def _ranges_of(block: DaqBlock, statistics: ChannelStatistics) -> dict[str, npt.NDArray[np.float32]]:
    found = channel_range(
        statistics, block.bits, block.rule, block.signed, block.range_bits, block.tail, block.companded
    )
    return {
        "lo": found.lo[:, :, None, None],
        "step": found.step.reshape(-1),
        "span": (found.step * highest_position(block.bits, found.origins))[:, :, None, None],
        "origin": found.origins[:, :, None, None],
    }


__all__ = ["RangeMeter", "Ranges", "Window"]
