"""Reading and writing pictures, with their colour profile and what their metadata say of them.

PNG, JPEG, WebP and TIFF only: other decoders of the imaging library are never reached by a file's content. Pillow has no
colour of 16 bits a channel; `deep_images` reads and writes that where its libraries are installed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from daq_deploy.errors import ImageError, OptionError
from daq_deploy.files import atomic_write

from . import deep_images

_READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
_COLOUR_MODES = ("RGB", "RGBA", "P")
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    ".tif": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
}
SUFFIXES = tuple(_WRITE_OPTIONS)
"""Files of a folder that count as pictures."""
_LARGEST_SIDE = {"JPEG": 65_535, "WEBP": 16_383}
_DEEP_FORMATS = ("PNG", "TIFF")
_DESCRIPTIVE_TAGS = {270, 271, 272, 305, 306, 315, 33432, 34665, 34853}
"""EXIF tags that describe a picture: text, camera, time, author, and the EXIF and GPS directories. Others tell how a file is
laid out, and which way up its pixels are."""
_XMP_TAG, _EXIF_DIRECTORY, _GPS_DIRECTORY, _WIDTH_TAG, _HEIGHT_TAG = 700, 34665, 34853, 0xA002, 0xA003


@dataclass(frozen=True)
class Picture:
    """A picture, the right way up."""

    rgb: npt.NDArray[Any]
    """Colours, uint8 or uint16 (H, W, 3)."""
    alpha: npt.NDArray[Any] | None = None
    """Opacity, of the same type (H, W); None for a picture without."""
    notes: tuple[str, ...] = ()
    """What reading changed, one line each: "converted from CMYK"."""
    icc_profile: bytes | None = None
    """The colour profile that belongs to `rgb`."""
    exif: bytes | None = None
    """What the EXIF data say of the picture; its orientation is applied and no longer in them."""
    xmp: bytes | None = None
    """XMP metadata."""


def read_picture(path: Path) -> Picture:
    """Read a PNG, JPEG, WebP or TIFF picture as RGB of 8 or 16 bits, turned as its EXIF orientation says.

    Grey and palette become RGB. CMYK is converted too, and noted; so are 16 bits a channel where the extra `deep` is missing.

    Raises:
        ImageError: the file is missing, is no such picture, is damaged, animated or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what Pillow thinks of odd tags
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_READ_FORMATS) as image:
                if deep_images.is_deep(image) and deep_images.available():
                    return _deep_picture(image, path)
                return picture_of(image, path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is not a PNG, JPEG, WebP or TIFF picture; convert it to one first") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ImageError(f"{path}: has more than {limit} million pixels; cut it into parts first") from error
    except Exception as error:  # decoders raise many kinds on damaged files
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ImageError(f"{path}: is damaged or cannot be read: {reason}") from error


def picture_of(image: Image.Image, name: str | Path = "the picture") -> Picture:
    """Convert an opened Pillow image of any mode, as `read_picture` does; messages call it `name`.

    Raises:
        ImageError: it is animated, or its values are not 8 or 16 bits.
    """
    _check_single(image, name)
    notes = []
    if deep_images.is_deep(image):
        notes.append("converted from 16 to 8 bits a channel")
    if image.mode == "CMYK":
        notes.append("converted from CMYK to RGB, without its colour profile")
    plain = Picture(np.empty((0, 0, 3), np.uint8), None, tuple(notes), *_metadata(image))
    upright: Image.Image = ImageOps.exif_transpose(image)
    if "16" in upright.mode:
        upright = _eight_bits(upright)
    if not upright.has_transparency_data:
        return replace(plain, rgb=np.array(upright.convert("RGB")))
    pixels = np.array(upright.convert("RGBA"))
    return replace(plain, rgb=pixels[..., :3].copy(), alpha=pixels[..., 3].copy())


def _deep_picture(image: Image.Image, path: Path) -> Picture:
    _check_single(image, path)
    pixels = deep_images.decode(path, image)
    turned = _turned(pixels, image.getexif().get(0x0112, 1))
    alpha = turned[..., 3].copy() if turned.shape[2] == 4 else None
    return Picture(np.ascontiguousarray(turned[..., :3]), alpha, (), *_metadata(image))


def _check_single(image: Image.Image, name: str | Path) -> None:
    # The second picture of an MPO file (a JPEG with a preview or a depth map behind it) is no animation.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        kind = "has several pages" if image.format == "TIFF" else "is animated"
        raise ImageError(f"{name}: {kind}; save its frames as single pictures first")
    if image.mode in ("I", "F"):
        raise ImageError(f"{name}: has 32 bits a channel; convert it to 8 or 16 first")


def _metadata(image: Image.Image) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Return the colour profile, the descriptive EXIF data, and XMP."""
    profile = image.info.get("icc_profile") if image.mode in _COLOUR_MODES or "16" in image.mode else None
    found = image.getexif()
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS & set(found):
        kept[tag] = found.get_ifd(tag) if tag in (_EXIF_DIRECTORY, _GPS_DIRECTORY) else found[tag]
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return profile or None, kept.tobytes() if len(kept) else None, xmp.encode() if isinstance(xmp, str) else xmp


def _turned(pixels: npt.NDArray[np.uint16], orientation: int) -> npt.NDArray[np.uint16]:
    """Turn pixels (H, W, C) the right way up (EXIF 2.32, tag 0x0112)."""
    upright = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    return np.rot90(upright, {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0))


def image_of(picture: Picture) -> Image.Image:
    """Return a picture as a Pillow image, mode RGB or RGBA, with its colour profile in `info`.

    16 bits become 8: Pillow has no such colour.
    """
    pixels = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else _halved(pixels))
    if picture.icc_profile is not None:
        image.info["icc_profile"] = picture.icc_profile
    return image


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture as uint8 RGB (H, W, 3), opacity left out and 16 bits a channel in 8: what figures are taken on.

    Raises:
        ImageError: as `read_picture`.
    """
    rgb = read_picture(path).rgb
    return rgb if rgb.dtype == np.uint8 else _halved(rgb)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits in 8; Pillow's own conversion clips at 255."""
    return Image.fromarray(_halved(np.asarray(image)))


def _halved(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def check_picture_path(path: Path, has_alpha: bool = False, size: tuple[int, int] = (0, 0)) -> None:
    """Refuse a file name under which a picture cannot be written.

    Args:
        path: the file.
        has_alpha: whether the picture has transparency.
        size: its height and width in pixels.

    Raises:
        OptionError: the suffix is not that of a format, or its format cannot hold transparency.
        ImageError: the picture is too large for the format.
    """
    options = _WRITE_OPTIONS.get(path.suffix.lower())
    if options is None:
        raise OptionError(f"{path}: pictures are written as {', '.join(_WRITE_OPTIONS)}; choose one of these suffixes")
    if has_alpha and options["format"] == "JPEG":
        raise OptionError(f"{path}: JPEG cannot hold the picture's transparency; choose .png or .webp")
    limit = _LARGEST_SIDE.get(options["format"])
    if limit is not None and max(size) > limit:
        raise ImageError(f"{path}: {size[1]}x{size[0]} pixels; {options['format']} ends at {limit} a side; choose .png")


def write_picture(path: Path, picture: Picture, force: bool = False) -> None:
    """Write a picture in the format of the suffix: PNG, WebP and TIFF without loss, JPEG at quality 95 and 4:4:4.

    PNG and TIFF keep 16 bits a channel where the extra `deep` is installed; others get 8.

    Raises:
        OptionError, ImageError: as `check_picture_path`.
        OutputExistsError: `path` exists and `force` is false.
        DaqError: `path` cannot be written.
    """
    height, width = picture.rgb.shape[:2]
    check_picture_path(path, picture.alpha is not None, (height, width))
    options = _WRITE_OPTIONS[path.suffix.lower()]
    exif = _with_size(picture.exif, height, width)
    with atomic_write(path, force) as temporary:
        if picture.rgb.dtype == np.uint16 and options["format"] in _DEEP_FORMATS and deep_images.available():
            pixels = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
            temporary.write_bytes(deep_images.encode(pixels, options["format"], picture.icc_profile, exif, picture.xmp))
            return
        image_of(picture).save(
            temporary,
            icc_profile=picture.icc_profile,
            **options | _metadata_options(options["format"], exif, picture.xmp),
        )


def _with_size(exif: bytes | None, height: int, width: int) -> bytes | None:
    """Return EXIF data whose width and height, where they are in it, are those of the picture."""
    if exif is None:
        return None
    data = Image.Exif()
    data.load(exif)
    directory = data.get_ifd(_EXIF_DIRECTORY)
    for tag, size in ((_WIDTH_TAG, width), (_HEIGHT_TAG, height)):
        if tag in directory:
            directory[tag] = size
    return data.tobytes()


def _metadata_options(format_name: str, exif: bytes | None, xmp: bytes | None) -> dict[str, Any]:
    """Return the options with which Pillow writes metadata in a format."""
    if format_name == "TIFF":
        data = Image.Exif()
        if exif is not None:
            data.load(exif)
        if xmp is not None:
            data[_XMP_TAG] = xmp
        # Pillow compresses by way of libtiff, which takes no EXIF and GPS directories.
        plain = {"compression": "raw"} if data.get_ifd(_EXIF_DIRECTORY) or data.get_ifd(_GPS_DIRECTORY) else {}
        return {"exif": data.tobytes(), **plain} if len(data) else {}
    options: dict[str, Any] = {} if exif is None else {"exif": exif}
    if xmp is not None and format_name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
        return options | {"pnginfo": text}
    return options if xmp is None else options | {"xmp": xmp}


__all__ = [
    "SUFFIXES",
    "Picture",
    "check_picture_path",
    "image_of",
    "picture_of",
    "read_picture",
    "read_rgb",
    "write_picture",
]
