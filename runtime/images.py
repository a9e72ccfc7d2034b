"""Reading and writing pictures.

PNG, JPEG and WebP only: other decoders of the imaging library are never reached by a file's content.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from daq_deploy.errors import ImageError, OptionError
from daq_deploy.files import atomic_write
from daq_deploy.metrics.pixels import Pixels

_READ_FORMATS = ("PNG", "JPEG", "WEBP")
_COLOUR_MODES = ("RGB", "RGBA", "P")
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
}
_LARGEST_SIDE = {"JPEG": 65_535, "WEBP": 16_383}


@dataclass(frozen=True)
class Picture:
    """A picture, the right way up."""

    rgb: Pixels
    """Colours, uint8 (H, W, 3)."""
    alpha: Pixels | None = None
    """Opacity, uint8 (H, W); None for a picture without."""
    notes: tuple[str, ...] = ()
    """What reading changed, one line each: "converted from CMYK"."""
    icc_profile: bytes | None = None
    """The colour profile that belongs to `rgb`."""


def read_picture(path: Path) -> Picture:
    """Read a PNG, JPEG or WebP picture as 8-bit RGB, turned as its EXIF orientation says.

    Grey and palette become RGB. CMYK and 16 bits a channel are converted too, and noted.

    Raises:
        ImageError: the file is missing, is no such picture, is damaged, animated or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_READ_FORMATS) as image:
                return picture_of(image, path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is not a PNG, JPEG or WebP picture; convert it to one first") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ImageError(f"{path}: has more than {limit} million pixels; cut it into parts first") from error
    except Exception as error:  # decoders raise many kinds on damaged files
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ImageError(f"{path}: is damaged or cannot be read: {reason}") from error


def picture_of(image: Image.Image, name: str | Path = "the picture") -> Picture:
    """Convert an opened Pillow image of any mode, as `read_picture` does; messages call it `name`.

    Raises:
        ImageError: it is animated.
    """
    # The second picture of an MPO file (a JPEG with a preview or a depth map behind it) is no animation.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ImageError(f"{name}: is animated; save its frames as single pictures first")
    notes = []
    if "16" in image.mode or any("16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        notes.append("converted from 16 to 8 bits a channel")
    if image.mode == "CMYK":
        notes.append("converted from CMYK to RGB, without its colour profile")
    profile = image.info.get("icc_profile") if image.mode in _COLOUR_MODES else None
    upright: Image.Image = ImageOps.exif_transpose(image)
    if "16" in upright.mode:
        upright = _eight_bits(upright)
    if not upright.has_transparency_data:
        return Picture(np.array(upright.convert("RGB")), None, tuple(notes), profile)
    pixels = np.array(upright.convert("RGBA"))
    return Picture(pixels[..., :3].copy(), pixels[..., 3].copy(), tuple(notes), profile)


def image_of(picture: Picture) -> Image.Image:
    """Return a picture as a Pillow image, mode RGB or RGBA, with its colour profile in `info`."""
    pixels = picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])
    image = Image.fromarray(pixels)
    if picture.icc_profile is not None:
        image.info["icc_profile"] = picture.icc_profile
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits in 8; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def check_picture_path(path: Path, has_alpha: bool = False) -> None:
    """Refuse a file name that a picture cannot be written under.

    Raises:
        OptionError: the suffix is not .png, .jpg, .jpeg or .webp, or its format cannot hold transparency.
    """
    options = _WRITE_OPTIONS.get(path.suffix.lower())
    if options is None:
        raise OptionError(f"{path}: pictures are written as {', '.join(_WRITE_OPTIONS)}; choose one of these suffixes")
    if has_alpha and options["format"] == "JPEG":
        raise OptionError(f"{path}: JPEG cannot hold the picture's transparency; choose .png or .webp")


def write_picture(path: Path, picture: Picture, force: bool = False) -> None:
    """Write a picture in the format of the suffix: .png and .webp without loss, .jpg at quality 95 and 4:4:4.

    Raises:
        OptionError: as `check_picture_path`.
        ImageError: the picture is too large for the format.
        OutputExistsError: `path` exists and `force` is false.
        DaqError: `path` cannot be written.
    """
    check_picture_path(path, picture.alpha is not None)
    options = _WRITE_OPTIONS[path.suffix.lower()]
    height, width = picture.rgb.shape[:2]
    limit = _LARGEST_SIDE.get(options["format"])
    if limit is not None and max(height, width) > limit:
        raise ImageError(f"{path}: {width}x{height} pixels; {options['format']} ends at {limit} a side; choose .png")
    with atomic_write(path, force) as temporary:
        image_of(picture).save(temporary, icc_profile=picture.icc_profile, **options)


__all__ = ["Picture", "check_picture_path", "image_of", "picture_of", "read_picture", "write_picture"]
