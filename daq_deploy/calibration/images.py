"""Pictures to calibrate on: drawn ones by default, or patches of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ImageError
from daq_deploy.metrics.resize import crop_to_multiple, resize_bicubic

from .drawing import dense_leaves, sparse_leaves

PATCH_SIZE = 48
"""Height and width of a patch in pixels."""
SIDE = 2
"""Patches a side of a mosaic.

Mosaics, since the extent of a channel grows with the area it is taken over: ranges that suit small patches are too wide
for photographs.
"""
MOSAICS = 4
"""How many mosaics are calibrated on."""
DENSE_FROM = 4
"""From how many bits of weights on they are rounded on dense pictures too."""
CONTRAST = np.float32(3)
"""Contrast of hard pictures, as a factor."""
PATCHES = MOSAICS * SIDE**2


def synthetic_mosaics() -> npt.NDArray[np.float32]:
    """Draw pictures to choose ranges on, much of them flat as in photographs. Deterministic.

    Returns:
        float32 (MOSAICS, 3, SIDE * PATCH_SIZE, SIDE * PATCH_SIZE), whole numbers 0..255.
    """
    generator = np.random.default_rng(0)
    return _mosaics(np.stack([sparse_leaves(PATCH_SIZE, generator) for _ in range(PATCHES)]))


def dense_mosaics(count: int = MOSAICS) -> npt.NDArray[np.float32]:
    """Draw pictures full of structure, that leave little about a weight untold. Deterministic.

    Returns:
        float32 (count, 3, SIDE * PATCH_SIZE, SIDE * PATCH_SIZE), whole numbers 0..255.
    """
    generator = np.random.default_rng(0)
    return _mosaics(np.stack([dense_leaves(PATCH_SIZE, generator) for _ in range(count * SIDE**2)]))


def mosaics_of_weights(mosaics: npt.NDArray[np.float32], config: DaqConfig) -> npt.NDArray[np.float32]:
    """Return what weights are rounded on: half of the mosaics for ranges, and as many dense ones; at few bits, theirs alone.

    Where pictures are flat they tell nothing about weights; weights that have seen few flat ones can explode on them, and
    below DENSE_FROM bits they do. Weight rules that look at no pictures need no others drawn.
    """
    if config.weight_rule != "deploy" or config.weight_bits < DENSE_FROM:
        return mosaics
    half = len(mosaics) // 2
    return np.concatenate([mosaics[:half], dense_mosaics(len(mosaics) - half)])


def drawn_picture(side: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one such picture of side x side pixels, RGB uint8 (side, side, 3); the same for the same seed."""
    return sparse_leaves(side, np.random.default_rng(seed)).astype(np.uint8).transpose(1, 2, 0)


def held_out_pictures(config: DaqConfig | None = None) -> npt.NDArray[np.float32]:
    """Draw four more such pictures, and lay the same with CONTRAST times the contrast beside them, hard as drawings and text.

    Where weights are rounded on pictures, but not on dense ones (see mosaics_of_weights), there are as many dense ones.

    Returns:
        float32 (8 or 16, 3, SIDE * PATCH_SIZE, SIDE * PATCH_SIZE), whole numbers 0..255. Deterministic.
    """
    side = SIDE * PATCH_SIZE
    drawn = np.stack([drawn_picture(side, seed).transpose(2, 0, 1) for seed in range(1, 5)]).astype(np.float32)
    pictures = np.concatenate([drawn, np.clip((drawn - 128) * CONTRAST + 128, 0, 255)])
    if config is None or config.weight_rule != "deploy" or config.weight_bits >= DENSE_FROM:
        return pictures
    return np.concatenate([pictures, dense_mosaics(len(pictures))])


def _mosaics(patches: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lay patches (N * SIDE * SIDE, 3, H, W) out as pictures (N, 3, SIDE * H, SIDE * W)."""
    _, channels, height, width = patches.shape
    grid = patches.reshape(-1, SIDE, SIDE, channels, height, width).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(grid.reshape(-1, channels, SIDE * height, SIDE * width))


def calibration_mosaics(
    folder: Path, scale: int, read: Callable[[Path], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.float32]:
    """Cut patches from a folder of pictures, each made smaller by `scale` first, as LR pictures of benchmarks are.

    Args:
        folder: pictures of the kind that the network is to give; no labels, no pairs.
        scale: of the network.
        read: from a path to RGB (H, W, 3).

    Returns:
        float32 (MOSAICS, 3, SIDE * PATCH_SIZE, SIDE * PATCH_SIZE), whole numbers 0..255. Deterministic.

    Raises:
        ImageError: there is no such folder, or no picture in it is large enough.
    """
    if not folder.is_dir():
        raise ImageError(f"--calibration {folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    generator = np.random.default_rng(0)
    smallest = PATCH_SIZE * scale
    patches: list[npt.NDArray[np.uint8]] = []
    while len(patches) < PATCHES:
        found = _one_patch_each(paths, scale, smallest, read, generator, PATCHES - len(patches))
        if not found:
            raise ImageError(f"--calibration {folder}: holds no picture of at least {smallest}x{smallest} pixels")
        patches += found
    return _mosaics(np.stack(patches).astype(np.float32).transpose(0, 3, 1, 2))


SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def _one_patch_each(
    paths: Sequence[Path],
    scale: int,
    smallest: int,
    read: Callable[[Path], npt.NDArray[np.uint8]],
    generator: np.random.Generator,
    wanted: int,
) -> list[npt.NDArray[np.uint8]]:
    patches: list[npt.NDArray[np.uint8]] = []
    for index in generator.permutation(len(paths)):
        picture = read(paths[index])
        if min(picture.shape[:2]) >= smallest:
            small = resize_bicubic(crop_to_multiple(picture, scale), 1 / scale)
            top, left = (int(generator.integers(0, side - PATCH_SIZE + 1)) for side in small.shape[:2])
            patches.append(small[top : top + PATCH_SIZE, left : left + PATCH_SIZE])
        if len(patches) == wanted:
            break
    return patches


__all__ = [
    "MOSAICS",
    "PATCH_SIZE",
    "SIDE",
    "calibration_mosaics",
    "dense_mosaics",
    "drawn_picture",
    "held_out_pictures",
    "mosaics_of_weights",
    "synthetic_mosaics",
]
