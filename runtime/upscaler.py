"""Upscaling from Python: pictures of NumPy or Pillow in, larger ones of the same kind out."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import onnx
from PIL import Image

from daq_deploy.errors import ImageError

from .images import image_of, picture_of
from .session import Session
from .upscale import upscale, upscale_pixels


class Upscaler:
    """An opened network that turns pictures into larger ones.

    Args:
        model: an ONNX file, float or DAQ, its bytes, or a ModelProto that holds its weights.
        provider: `cpu` or `cuda`.
        threads: threads within a node, 1 or more; None leaves it to ONNX Runtime.
        allow_fallback: accept that nodes, or the whole network, run on the CPU instead of `provider`.

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
    ) -> None:
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
        self._arguments = (source, provider, threads, allow_fallback)
        self.session = Session(*self._arguments)

    @property
    def scale(self) -> int:
        """Factor from input to output height and width."""
        return self.session.scale

    def upscale(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Upscale uint8 RGB (H, W, 3) to uint8 (scale * H, scale * W, 3).

        Raises:
            ImageError: wrong type or shape, or a size the network does not read.
            ModelError: the network cannot run at this size, or gives values that are not numbers.
        """
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            kind = (
                f"{pixels.dtype} of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            )
            raise ImageError(f"the picture is {kind}; give a uint8 RGB array of shape (H, W, 3), or a Pillow image")
        return upscale_pixels(self.session, pixels)

    @overload
    def __call__(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...

    @overload
    def __call__(self, picture: Image.Image) -> Image.Image: ...

    def __call__(self, picture: npt.NDArray[np.uint8] | Image.Image) -> npt.NDArray[np.uint8] | Image.Image:
        """Upscale an array as `upscale` does, or a Pillow image of any mode to one of mode RGB, or RGBA if it had opacity.

        The EXIF orientation is applied, the colour profile kept in `info["icc_profile"]`.

        Raises:
            ImageError, ModelError: as `upscale`; also an image that is animated or damaged.
        """
        if isinstance(picture, Image.Image):
            return image_of(upscale(self.session, picture_of(picture)))
        return self.upscale(picture)

    def close(self) -> None:
        """Give the memory back; the upscaler cannot run any more."""
        self.session.close()

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Upscaler], tuple[Any, ...]]:
        return Upscaler, self._arguments


__all__ = ["Upscaler"]
