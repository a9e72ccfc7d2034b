"""Colour of 16 bits a channel, PNG and TIFF, with the libraries of the extra `deep`: imagecodecs and tifffile."""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_PNG_HEADER_END = 33
"""Bytes of a PNG's signature and first chunk; ancillary chunks may follow."""


def available() -> bool:
    """Return whether the libraries are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("imagecodecs", "tifffile"))


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened image has 16 bits a channel, which Pillow keeps for grey only."""
    if image.format == "TIFF":
        bits: Any = getattr(image, "tag_v2", {}).get(258, (8,))
        return 16 in (bits if isinstance(bits, tuple) else (bits,))
    return "16" in image.mode or any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def decode(path: Path, image: Image.Image) -> npt.NDArray[np.uint16]:
    """Read a PNG or TIFF file as uint16, (H, W, 3) or with opacity (H, W, 4); grey becomes colour.

    Args:
        path: the file.
        image: the same file opened by Pillow, which has checked its size.
    """
    import imagecodecs
    import tifffile

    if image.format == "PNG":
        pixels = imagecodecs.png_decode(path.read_bytes())
    else:
        pixels = tifffile.imread(path)
        if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[1:] == image.size[::-1]:
            pixels = pixels.transpose(1, 2, 0)  # planes one after the other
    if pixels.dtype != np.uint16 or pixels.shape[:2] != image.size[::-1]:
        raise ValueError(f"{pixels.dtype} values of shape {pixels.shape} in place of 16-bit colours")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colours = pixels[..., :1].repeat(3, axis=2) if pixels.shape[2] < 3 else pixels[..., :3]
    return np.dstack([colours, pixels[..., -1]]) if pixels.shape[2] in (2, 4) else colours


def encode(
    pixels: npt.NDArray[np.uint16], format_name: str, icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None
) -> bytes:
    """Return the bytes of a PNG or TIFF file, compressed without loss.

    Args:
        pixels: (H, W, 3), or (H, W, 4) with opacity.
        format_name: `PNG` or `TIFF`.
        icc_profile: the colour profile.
        exif: EXIF data, written to PNG.
        xmp: XMP metadata.
    """
    import imagecodecs
    import tifffile

    if format_name == "TIFF":
        stream = io.BytesIO()
        tags: list[Any] = [] if xmp is None else [(700, 1, len(xmp), xmp, True)]
        tifffile.imwrite(
            stream, pixels, photometric="rgb", compression="zlib", predictor=True, iccprofile=icc_profile,
            extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None, extratags=tags, metadata=None,
        )  # fmt: skip
        return stream.getvalue()
    data = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6))
    chunks = b""
    if icc_profile is not None:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))
    if exif is not None:
        chunks += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if xmp is not None:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    return data[:_PNG_HEADER_END] + chunks + data[_PNG_HEADER_END:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


__all__ = ["available", "decode", "encode", "is_deep"]
