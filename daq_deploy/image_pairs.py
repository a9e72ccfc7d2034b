"""Benchmark pictures: a high-resolution truth and the low-resolution picture a network is given.

Folders are laid out as the published benchmarks are: `Set5/HR/name.png` with `Set5/LRx2/namex2.png` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ImageError, OptionError
from .metrics.pixels import Pixels
from .metrics.resize import crop_to_multiple, resize_bicubic

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Files of a folder that count as pictures."""


@dataclass(frozen=True)
class ImagePair:
    """A truth and what a network is to make it from."""

    name: str
    """File name of the truth."""
    low: Pixels
    """uint8 (H, W, 3)."""
    high: Pixels
    """uint8 (scale * H, scale * W, 3): the truth, its bottom and right cut to whole multiples of the scale."""


@dataclass(frozen=True)
class ImagePairs:
    """The pairs of a folder, in the order of their names; each is read when it is asked for."""

    folder: Path
    """As the user gave it."""
    scale: int
    high_paths: tuple[Path, ...]
    low_folder: Path | None
    """Where the low-resolution pictures are; None where they are made from the truth."""
    read: Callable[[Path], Pixels]
    """Reads a picture as uint8 RGB (H, W, 3)."""

    def __len__(self) -> int:
        return len(self.high_paths)

    def __iter__(self) -> Iterator[ImagePair]:
        """Yield every pair.

        Raises:
            ImageError: a picture cannot be read, has no low-resolution picture, or one of another size.
        """
        for path in self.high_paths:
            high = crop_to_multiple(self.read(path), self.scale)
            if 0 in high.shape:
                raise ImageError(f"{path}: is smaller than {self.scale}x{self.scale} pixels; take it out of the folder")
            low = resize_bicubic(high, 1 / self.scale) if self.low_folder is None else self._read_low(path, high)
            yield ImagePair(path.name, low, high)

    def _read_low(self, high_path: Path, high: Pixels) -> Pixels:
        assert self.low_folder is not None
        path = self.low_folder / f"{high_path.stem}x{self.scale}{high_path.suffix}"
        if not path.is_file():
            raise ImageError(f"{path}: no such file; {high_path.name} needs it, or remove {self.low_folder.name}")
        low = self.read(path)
        expected = (high.shape[0] // self.scale, high.shape[1] // self.scale)
        if low.shape[:2] != expected:
            raise ImageError(
                f"{path}: has {low.shape[1]}x{low.shape[0]} pixels; {high_path.name} at x{self.scale} "
                f"needs {expected[1]}x{expected[0]}"
            )
        return low


def find_image_pairs(folder: Path, scale: int, read: Callable[[Path], Pixels]) -> ImagePairs:
    """Find the pairs of a folder.

    Args:
        folder: one that holds `HR/`, or high-resolution pictures themselves.
        scale: whose low-resolution pictures are wanted. `LRx<scale>` beside the high-resolution folder holds them;
            where there is no such folder they are made by MATLAB's bicubic.
        read: reads a picture as uint8 RGB (H, W, 3).

    Raises:
        OptionError: the scale is below 1, or the folder is missing or has no pictures.
    """
    if scale < 1:
        raise OptionError(f"--scale {scale}: choose 1 or more")
    if not folder.is_dir():
        raise OptionError(f"--data {folder}: no such folder")
    high_folder = folder / "HR" if (folder / "HR").is_dir() else folder
    high_paths = sorted(path for path in high_folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not high_paths:
        raise OptionError(f"--data {high_folder}: has no pictures ({', '.join(SUFFIXES)})")
    low_folder = high_folder.resolve().parent / f"LRx{scale}"
    return ImagePairs(folder, scale, tuple(high_paths), low_folder if low_folder.is_dir() else None, read)


__all__ = ["SUFFIXES", "ImagePair", "ImagePairs", "find_image_pairs"]
