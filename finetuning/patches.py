"""Training data: random patches of a folder of high-resolution pictures, their low-resolution ones by MATLAB's bicubic.

A patch is a function of seed, step and its place in the batch alone. So a resumed run sees what an uninterrupted one does,
and several processes share a batch by taking every n-th patch of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from daq_deploy.errors import ImageError, OptionError
from daq_deploy.image_pairs import SUFFIXES
from daq_deploy.metrics.pixels import Pixels
from daq_deploy.metrics.resize import crop_to_multiple, resize_bicubic

CACHE_BYTES = 2_000_000_000
"""Decoded pictures that are kept; what is over is read again when it is drawn."""


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder and the folders in it, in the order of their paths.

    Raises:
        OptionError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise OptionError(f"--data {folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise OptionError(f"--data {folder}: has no pictures ({', '.join(SUFFIXES)})")
    return found


class Patches:
    """Random patches, turned and mirrored.

    Args:
        paths: high-resolution pictures; those smaller than a patch, and those that cannot be opened, are left out.
        scale: of the network.
        patch: side of a high-resolution patch in pixels; a multiple of the scale.
        seed: of the choice.
        read: from a path to RGB uint8 (H, W, 3).
        warn: told in a line what is left out.

    Raises:
        OptionError: the patch is no multiple of the scale, or no picture is large enough.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        scale: int,
        patch: int,
        seed: int,
        read: Callable[[Path], Pixels],
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        if patch < 2 * scale or patch % scale:
            raise OptionError(f"--patch {patch}: choose a multiple of the scale, {scale}, and at least twice that")
        self._scale, self._patch, self._seed, self._read, self._warn = scale, patch, seed, read, warn
        given = list(paths)
        self.paths = [path for path in given if self._is_large_enough(path)]
        if not self.paths:
            raise OptionError(f"no picture of {len(given)} has {patch}x{patch} pixels; choose a smaller --patch")
        if len(self.paths) < len(given):
            warn(f"{len(given) - len(self.paths)} of {len(given)} pictures are smaller than a patch of {patch} pixels")
        self._cache: OrderedDict[Path, tuple[Pixels, Pixels]] = OrderedDict()
        self._broken: set[Path] = set()

    def batch(self, step: int, places: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Return the patches at some places of a step's batch: low (N, 3, h, w) and high (N, 3, H, W), float32 0..255.

        Raises:
            ImageError: none of the pictures can be read.
        """
        low, high = zip(*(self._draw(step, place) for place in places), strict=True)
        return _stack(low), _stack(high)

    def _draw(self, step: int, place: int) -> tuple[Pixels, Pixels]:
        generator = np.random.default_rng([self._seed, step, place])
        while True:
            path = self.paths[int(generator.integers(len(self.paths)))]
            try:
                low, high = self._pair(path)
                break
            except ImageError as error:
                self._leave_out(path, error)
        side = self._patch // self._scale
        y, x = (int(generator.integers(size - side + 1)) for size in low.shape[:2])
        turns, mirror = int(generator.integers(4)), bool(generator.integers(2))

        def cut(picture: Pixels, factor: int) -> Pixels:
            part = picture[y * factor : (y + side) * factor, x * factor : (x + side) * factor]
            part = np.rot90(part, turns)
            return part[:, ::-1] if mirror else part

        return cut(low, 1), cut(high, self._scale)

    def _pair(self, path: Path) -> tuple[Pixels, Pixels]:
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        high = crop_to_multiple(self._read(path), self._scale)
        pair = resize_bicubic(high, 1 / self._scale), high
        self._cache[path] = pair
        while (
            len(self._cache) > 1 and sum(low.nbytes + high.nbytes for low, high in self._cache.values()) > CACHE_BYTES
        ):
            self._cache.popitem(last=False)
        return pair

    def _is_large_enough(self, path: Path) -> bool:
        try:
            with Image.open(path) as picture:
                return min(picture.size) >= self._patch
        except (OSError, ValueError, Image.DecompressionBombError):
            self._warn(f"{path}: cannot be read; left out")
            return False

    def _leave_out(self, path: Path, error: ImageError) -> None:
        if path not in self._broken:
            self._broken.add(path)
            self._warn(f"{error}; left out")
        if len(self._broken) == len(self.paths):
            raise ImageError("none of the pictures can be read") from error


def _stack(patches: tuple[Pixels, ...]) -> Tensor:
    return torch.from_numpy(np.stack(patches).transpose(0, 3, 1, 2).astype(np.float32))


__all__ = ["CACHE_BYTES", "Patches", "find_pictures"]
