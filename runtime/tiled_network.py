"""Run a network on tiles of a picture, all with the same ranges."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from daq_deploy.errors import ModelError
from daq_deploy.metrics.pixels import Unsigned, to_network, to_pixels
from daq_deploy.numerics import ChannelStatistics
from daq_deploy.passes.expose_ranges import ExposeRanges
from daq_deploy.receptive_field import receptive_field

from .range_sample import choose_sample
from .session import Session
from .shared_ranges import RangeMeter, Ranges, Window
from .tile_size import bytes_per_pixel
from .tiling import cut

LARGEST_OVERLAP = 64
"""Overlap where a network looks further, or has no bound: what lies beyond hardly matters, and tiles cost its square."""
LARGEST_MEASURED_WHOLE = 512 * 512
"""Pictures of more pixels than this get their ranges from a sample. A constant, not a matter of memory: what comes out shall
not depend on how much there is, nor on the tiles."""
_SAMPLE_SHARE = 1 / 64
_SAMPLE_CONTEXT = 24
"""Pixels run around a part that is looked at for its statistics; less than the overlap, which has to be exact."""
_NATIVE_SHARE = 0.4
"""Memory that native kernels take, whose maps are in half precision, against ONNX Runtime's (measured: 0.25 to 0.35)."""

_PAIR = 2
"""Native kernels may compute pixels in pairs, whose two members are rounded differently: tiles begin where pairs do."""

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""


class TiledNetwork:
    """A network that is run on tiles of a picture, all with the same ranges.

    What comes out is the same for tiles of every size, bit for bit, where the overlap is no less than the network's
    receptive field, and no layer interpolates to a size that it takes from the picture.

    Args:
        model: a float or DAQ network that holds its weights.
        name: what messages call it.
        provider, threads, allow_fallback, native: as `Session` takes them.
    """

    def __init__(
        self, model: onnx.ModelProto, name: str, provider: str, threads: int | None, allow_fallback: bool, native: bool
    ) -> None:
        self._source, self._name = model, name
        self._options, self._native = (provider, threads, allow_fallback), native
        exposed: ir.Model = ir.from_proto(model)
        ExposeRanges()(exposed)
        self.field = receptive_field(exposed.graph)
        """How far the network looks around a pixel."""
        proto = ir.to_proto(exposed)
        self.bytes_per_pixel = bytes_per_pixel(proto)
        """Estimate of the memory that one run takes for each pixel of what is run."""
        self.range_names = [value.name for value in proto.graph.input[1:]]
        """Names of the ranges; none where the network has no DAQ blocks."""
        self._session = Session(proto, *self._options, extra_inputs=self.range_names, native=native)
        self._session.name = name
        if not self._session.without_native:
            self.bytes_per_pixel *= _NATIVE_SHARE
        self._meter: RangeMeter | None = None

    @property
    def overlap(self) -> int:
        """Pixels that tiles overlap by on each side, unless told otherwise."""
        return LARGEST_OVERLAP if self.field.radius is None else min(self.field.radius, LARGEST_OVERLAP)

    def upscale(
        self, pixels: npt.NDArray[Unsigned], side: int, overlap: int, progress: Progress = lambda share: None
    ) -> npt.NDArray[Unsigned]:
        """Upscale uint8 or uint16 (H, W, 3) to (scale * H, scale * W, 3) of the same type, tile by tile.

        Args:
            pixels: the picture.
            side: largest height and width of what is kept of a tile.
            overlap: pixels run around that.
            progress: told the share that is done.

        Raises:
            ImageError: the network does not read RGB, or not this size.
            ModelError: the network cannot run at this size, or gives values that are not numbers.
            OutOfMemoryError: it needs more memory than there is.
        """
        height, width = pixels.shape[:2]
        ranges = self._ranges(pixels) if self.range_names else {}
        stride = self.field.stride * (1 if self._session.without_native else _PAIR)
        tiles = cut(height, width, side, overlap, stride)
        scale, larger = 0, pixels[:0]
        for index, tile in enumerate(tiles):
            (output,) = self._session.run_outputs(self._input(pixels, tile.outer), None, ranges).values()
            if index == 0:
                scale = output.shape[2] // tile.outer.height
                larger = np.empty((height * scale, width * scale, 3), pixels.dtype)
            kept, target = tile.inner.within(tile.outer).times(scale), tile.inner.times(scale)
            part = output[:, :, kept.top : kept.bottom, kept.left : kept.right]
            try:
                larger[target.rows, target.columns] = to_pixels(part, self._session.value_range, pixels.dtype)
            except ModelError as error:
                raise ModelError(f"{self._name}: {error}") from error
            progress((index + 1) / len(tiles))
        return larger

    def _ranges(self, pixels: npt.NDArray[Unsigned]) -> Ranges:
        whole = Window(0, 0, pixels.shape[0], pixels.shape[1])
        if whole.height * whole.width <= LARGEST_MEASURED_WHOLE:
            with Session(self._source, *self._options, extra_outputs=self.range_names, native=self._native) as session:
                return session.run_outputs(self._input(pixels, whole), self.range_names)
        return self._sampled_ranges(pixels)

    def _sampled_ranges(self, pixels: npt.NDArray[Unsigned]) -> Ranges:
        """Return ranges from parts of a picture: moments of some spread evenly, extremes of those that look extreme."""
        sample = choose_sample(pixels, _SAMPLE_SHARE)
        context = min(_SAMPLE_CONTEXT, self.overlap)
        if self._meter is None:
            self._meter = RangeMeter(self._source, self._name, *self._options, self._native)
        meter = self._meter

        def measure(window: Window) -> list[ChannelStatistics]:
            outer = window.grown(context, pixels.shape[0], pixels.shape[1])
            return meter.measure(self._input(pixels, outer), window.within(outer))

        found = [reduce(add, parts) for parts in zip(*map(measure, sample.even), strict=True)]
        for window in sample.extreme:
            found = [before.reaching(part) for before, part in zip(found, measure(window), strict=True)]
        return meter.ranges(found)

    def _input(self, pixels: npt.NDArray[Unsigned], window: Window) -> npt.NDArray[np.float32]:
        return to_network(pixels[window.rows, window.columns], self._session.value_range)

    def close(self) -> None:
        """Give the memory back."""
        self._session.close()
        if self._meter is not None:
            self._meter.close()


__all__ = ["LARGEST_MEASURED_WHOLE", "LARGEST_OVERLAP", "Progress", "TiledNetwork"]
