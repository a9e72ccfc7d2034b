"""One picture that compares several versions of another, as papers do."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from daq_deploy.metrics.pixels import Pixels

_GAP = 8
_LABEL_HEIGHT = 40
_PICTURE_ZOOM, _PART_ZOOM = 2, 4
_PAPER, _INK, _FAINT, _MARK = (255, 255, 255), (24, 28, 36), (92, 100, 112), (255, 214, 64)


@dataclass(frozen=True)
class Version:
    """One version of the picture."""

    name: str
    """What it is: "bicubic"."""
    figures: str
    """What was measured of it: "28.31 dB"."""
    pixels: Pixels
    """The picture, uint8 (H, W, 3); all versions have one size."""


def side_by_side(versions: list[Version], original: Pixels, left: int, top: int) -> Image.Image:
    """Return the original at twice its size and, beside it in two columns, a part of each version at four times.

    The part is a quarter as wide as the picture and begins at (left, top), where the original is marked.
    """
    height, width = original.shape[:2]
    part_width, part_height = width // _PART_ZOOM, (height - _LABEL_HEIGHT) // _PART_ZOOM
    box = (left, top, left + part_width, top + part_height)
    picture = _zoomed(Image.fromarray(original), _PICTURE_ZOOM)
    corners = [_PICTURE_ZOOM * side for side in box]
    ImageDraw.Draw(picture).rectangle((corners[0] - 2, corners[1] - 2, corners[2] + 1, corners[3] + 1), None, _MARK, 2)
    rows = (len(versions) + 1) // 2
    sheet = Image.new("RGB", (picture.width + 2 * (width + _GAP), max(picture.height, rows * height)), _PAPER)
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for index, version in enumerate(versions):
        x = picture.width + _GAP + index % 2 * (width + _GAP)
        y = index // 2 * height
        sheet.paste(_zoomed(Image.fromarray(version.pixels).crop(box), _PART_ZOOM), (x, y))
        font = ImageFont.load_default(22)
        baseline = y + part_height * _PART_ZOOM + 27
        draw.text((x + 2, baseline), version.name, font=font, fill=_INK, anchor="ls")
        figures_x = x + 2 + draw.textlength(f"{version.name}  ", font=font)
        draw.text((figures_x, baseline), version.figures, font=ImageFont.load_default(18), fill=_FAINT, anchor="ls")
    return sheet


def _zoomed(picture: Image.Image, factor: int) -> Image.Image:
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


__all__ = ["Version", "side_by_side"]
