"""Upscaling: pictures of NumPy or Pillow in, larger ones of the same kind out, whole or in tiles."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import onnx
from PIL import Image

from daq_deploy.errors import ImageError, OptionError, OutOfMemoryError
from daq_deploy.metrics.pixels import Unsigned
from daq_deploy.metrics.resize import resize_bicubic

from .images import Picture, image_of, picture_of
from .memory import resident_memory
from .model_source import read_model
from .session import Session
from .tile_size import SMALLEST_TILE, parse_memory
from .tiled_network import LARGEST_MEASURED_WHOLE, Progress, TiledNetwork
from .upscale import upscale_pixels

AUTO, OFF = "auto", "off"
_LOG = logging.getLogger(__name__)
_BYTES_A_VALUE = 4
"""Bytes Pillow takes for a pixel of three values of 8 bits while it writes."""


class Upscaler:
    """An opened network that turns pictures into larger ones.

    Args:
        model: an ONNX file, float or DAQ, its bytes, or a ModelProto that holds its weights.
        provider: `cpu` or `cuda`.
        threads: threads within a node, 1 or more; None leaves it to ONNX Runtime.
        allow_fallback: accept that nodes, or the whole network, run on the CPU instead of `provider`.
        tile: `auto`: tiles where a picture run whole would take more than `max_memory`; `off`: never; or their height
            and width in pixels of the picture, 32 or more, what they overlap by not counted.
        overlap: pixels run around a tile on each side; `auto` takes the network's receptive field, at most 64.
        max_memory: bytes of main memory that the process shall not exceed, as a number, "1500M" or "1.5G". An estimate.
        native: use the native kernels where they are installed; see `Session`.

    A DAQ network finds its ranges in the picture; all tiles of a picture share them, and what comes out is the same in tiles
    of every size, or nearly (see `TiledNetwork`). Pictures of more than 512 * 512 pixels, run in tiles or not, have their
    ranges from a sample of their parts (see `range_sample`), smaller ones from all of it.

    A picture smaller than the network can run on is continued with its last row and column, and cut to its size again.

    A tile for which memory does not suffice is halved. What is done differently than asked is logged as a warning.

    An upscaler is a context manager, may be used from several threads, and is pickled as what it was opened with: a path
    stays a path, which must lead to the model where it is unpickled; bytes travel along.

    Raises:
        ModelError: the model cannot be read, is unsafe or invalid, or does not map a picture to a picture.
        OptionError: an option is out of its range.
        ProviderError: the provider is absent, does not start, or not for every node.

    Example:
        >>> upscaler = Upscaler("edsr_daq.onnx")  # doctest: +SKIP
        >>> larger = upscaler(PIL.Image.open("photo.jpg"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | bytes | onnx.ModelProto,
        provider: str = "cpu",
        threads: int | None = None,
        allow_fallback: bool = False,
        *,
        tile: int | str = AUTO,
        overlap: int | str = AUTO,
        max_memory: int | str = "1.5G",
        native: bool = True,
    ) -> None:
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
        self._arguments = (source, provider, threads, allow_fallback)
        self._options = {"tile": tile, "overlap": overlap, "max_memory": max_memory, "native": native}
        self._tile = _number("tile", tile, SMALLEST_TILE, (AUTO, OFF))
        self._overlap = _number("overlap", overlap, 0, (AUTO,))
        self._max_memory = parse_memory(str(max_memory))
        self._native = native
        self._told_overlap = False
        self.session = Session(*self._arguments, native=native)

    @property
    def scale(self) -> int:
        """Factor from input to output height and width."""
        return self.session.scale

    @property
    def provider(self) -> str:
        """Where the network was asked to run: `cpu` or `cuda`."""
        return self._arguments[1]

    def upscale(self, pixels: npt.NDArray[Unsigned], progress: Progress = lambda share: None) -> npt.NDArray[Unsigned]:
        """Upscale uint8 or uint16 RGB (H, W, 3) to (scale * H, scale * W, 3) of the same type.

        Args:
            pixels: the picture.
            progress: told the share that is done, 0 to 1, where tiles are run.

        Raises:
            ImageError: wrong type or shape, or a size the network does not read.
            ModelError: the network cannot run at this size, or gives values that are not numbers.
            OutOfMemoryError: the network needs more memory than there is, for the smallest tile too.
        """
        _check(pixels)
        height, width = pixels.shape[:2]
        rows, columns = (max(self.session.least_size - length, 0) for length in pixels.shape[:2])
        if rows or columns:
            continued = np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge")
            return self.upscale(continued, progress)[: height * self.scale, : width * self.scale]
        side = self._tile if isinstance(self._tile, int) else max(height, width)
        if self._tile == AUTO:
            side = self._largest_tile(height, width)
        while True:
            try:
                if side >= max(height, width) and height * width <= LARGEST_MEASURED_WHOLE:
                    return upscale_pixels(self.session, pixels)
                if side < max(height, width):
                    self._tell_overlap()
                return self._tiled_network.upscale(pixels, side, self._pixels_around, progress)
            except OutOfMemoryError as error:
                if self._tile == OFF or side <= SMALLEST_TILE:
                    raise
                side = max(SMALLEST_TILE, min(side, max(height, width)) // 2)
                _LOG.warning("%s; going on with tiles of %d pixels", error, side)

    def upscale_picture(self, picture: Picture, progress: Progress = lambda share: None) -> Picture:
        """Return a picture `scale` times as wide and as high; opacity is resized bicubically, the rest is kept.

        Raises:
            ImageError, ModelError, OutOfMemoryError: as `upscale`.
        """
        alpha = picture.alpha
        if alpha is not None:
            alpha = resize_bicubic(alpha[..., None], self.scale)[..., 0]
        return replace(picture, rgb=self.upscale(picture.rgb, progress), alpha=alpha)

    @overload
    def __call__(self, picture: npt.NDArray[Unsigned]) -> npt.NDArray[Unsigned]: ...

    @overload
    def __call__(self, picture: Image.Image) -> Image.Image: ...

    def __call__(self, picture: npt.NDArray[Any] | Image.Image) -> npt.NDArray[Any] | Image.Image:
        """Upscale an array as `upscale` does, or a Pillow image of any mode to one of mode RGB, or RGBA if it had opacity.

        The EXIF orientation is applied, the colour profile kept in `info["icc_profile"]`.

        Raises:
            ImageError, ModelError, OutOfMemoryError: as `upscale`; also an image that is animated or damaged.
        """
        if isinstance(picture, Image.Image):
            return image_of(self.upscale_picture(picture_of(picture)))
        return self.upscale(picture)

    @cached_property
    def _tiled_network(self) -> TiledNetwork:
        source, provider, threads, allow_fallback = self._arguments
        return TiledNetwork(read_model(source), self.session.name, provider, threads, allow_fallback, self._native)

    @property
    def _pixels_around(self) -> int:
        """Pixels that are run around a tile on each side."""
        return self._overlap if isinstance(self._overlap, int) else self._tiled_network.overlap

    def _tell_overlap(self) -> None:
        """Log, once, that tiles overlap by less than the network sees."""
        field = self._tiled_network.field
        if self._overlap != AUTO or field.radius == self._pixels_around or self._told_overlap:
            return
        self._told_overlap = True
        seen = f"{field.radius} pixels around" if field.radius else "without bound"
        because = f" ({field.unbounded_by})" if field.unbounded_by else ""
        _LOG.warning(
            "%s: the network sees %s%s; tiles overlap by %d", self.session.name, seen, because, self._pixels_around
        )

    def _largest_tile(self, height: int, width: int) -> int:
        """Return the side of the largest tile that keeps the process within its memory."""
        network, values = self._tiled_network, height * width
        kept = values * 3 * (1 + self.scale**2) + values * self.scale**2 * _BYTES_A_VALUE
        left = self._max_memory - resident_memory() - kept
        if values * network.bytes_per_pixel <= left:
            return max(height, width)
        side = int(max(0.0, left / network.bytes_per_pixel) ** 0.5) - 2 * self._pixels_around - network.field.stride
        if side < SMALLEST_TILE:
            _LOG.warning(
                "%dx%d pixels do not fit in %d MB of memory; going on with tiles of %d pixels",
                *(width, height, self._max_memory >> 20, SMALLEST_TILE),
            )
        return max(SMALLEST_TILE, side)

    def close(self) -> None:
        """Give the memory back; the upscaler cannot run any more."""
        self.session.close()
        if "_tiled_network" in self.__dict__:
            self._tiled_network.close()

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self._arguments, self._options)


def _open(arguments: tuple[Any, ...], options: dict[str, Any]) -> Upscaler:
    return Upscaler(*arguments, **options)


def _number(name: str, value: int | str, least: int, words: tuple[str, ...]) -> int | str:
    """Return one of the words, or the number that a value says.

    Raises:
        OptionError: it is neither, or the number is below the least.
    """
    if value in words:
        return value
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if number < least:
        raise OptionError(f"--{name} {value}: choose {', '.join(words)} or a number of pixels, {least} or more")
    return number


def _check(pixels: npt.NDArray[Any]) -> None:
    is_array = isinstance(pixels, np.ndarray)
    if not is_array or pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] != 3:
        kind = f"{pixels.dtype} {pixels.shape}" if is_array else type(pixels).__name__
        raise ImageError(
            f"the picture is {kind}; give a uint8 or uint16 RGB array of shape (H, W, 3), or a Pillow image"
        )


__all__ = ["AUTO", "OFF", "Upscaler"]
