"""Draw pictures with the statistics of photographs: overlapping shaded discs whose radii follow a power law.

Such "dead leaves" pictures have the edges, the flat areas and the 1/f spectrum of natural ones (Lee, Mumford and Huang, IJCV
2001). The same generator gives the same picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq_deploy.metrics.resize import resize_bicubic
from daq_deploy.numerics.statistics import Float64Array

OVERSIZE = 2
"""Factor by which a dense picture is drawn larger and then made smaller, as LR pictures of benchmarks are."""


def sparse_leaves(size: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw a few small discs on a flat ground: edges beside large flat areas, as ranges of channels meet them.

    Returns:
        float32 (3, size, size), whole numbers 0..255.
    """
    picture = np.broadcast_to(generator.uniform(30, 225, 3)[:, None, None], (3, size, size))
    for _ in range(int(generator.integers(20, 80))):
        radius = min(1.5 / np.sqrt(1 - generator.uniform()), size)
        picture = _with_leaf(picture, radius, 25, generator)
    grain = _noise(size, 1, generator) * generator.uniform(0, 12)
    return _whole_numbers(picture + grain)


def dense_leaves(size: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Cover the ground with discs, the large ones first and the more colourful: structure of every size everywhere.

    Each pixel tells something about weights, and brightness and colour fall off with frequency as those of photographs do.

    Returns:
        float32 (3, size, size), whole numbers 0..255.
    """
    side = OVERSIZE * size
    ground = np.clip(generator.uniform(0, 255) + generator.normal(0, 50, 3), 0, 255)
    picture = np.broadcast_to(ground[:, None, None], (3, side, side))
    radii = 3 / np.sqrt(1 - generator.uniform(size=int(generator.integers(80, 200))))
    for radius in np.sort(np.minimum(radii, side))[::-1]:
        picture = _with_leaf(picture, radius, 50 * np.sqrt(radius / side), generator)
    grain = _noise(side, 1, generator) * generator.uniform(0, 40)
    light = _noise(side, 2, generator) * 20
    large = _whole_numbers(picture + grain + light).astype(np.uint8).transpose(1, 2, 0)
    return resize_bicubic(large, 1 / OVERSIZE).transpose(2, 0, 1).astype(np.float32)


def _with_leaf(picture: Float64Array, radius: float, chroma: float, generator: np.random.Generator) -> Float64Array:
    """Return a picture (3, size, size) with one shaded ellipse on it, striped or not; `chroma` is a deviation of colours."""
    size = picture.shape[-1]
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    centre = generator.uniform(-radius / 2, size + radius / 2, 2)
    angle, flatness = generator.uniform(0, np.pi), generator.uniform(0.3, 1)
    along = (columns - centre[0]) * np.cos(angle) + (rows - centre[1]) * np.sin(angle)
    across = (rows - centre[1]) * np.cos(angle) - (columns - centre[0]) * np.sin(angle)
    outside = np.hypot(along, across / flatness) - radius
    opacity = np.clip(0.5 - outside / generator.uniform(0.7, 2), 0, 1)
    colour = np.clip(generator.uniform(0, 255) + generator.normal(0, chroma, 3), 0, 255)
    shade = generator.normal(0, 0.6, 2)
    shading = shade[0] * (columns - centre[0]) + shade[1] * (rows - centre[1])
    stripes = generator.choice([0, 0, 1]) * generator.uniform(5, 30)
    shading = shading + stripes * np.sin(generator.uniform(0.2, 2) * along + generator.uniform(0, 6))
    laid: Float64Array = picture * (1 - opacity) + (colour[:, None, None] + shading) * opacity
    return laid


def _noise(size: int, slope: float, generator: np.random.Generator) -> Float64Array:
    """Noise whose amplitude falls as 1 / frequency^slope, of unit deviation (size, size)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequency[0, 0] = 1
    noise = np.fft.ifft2(np.fft.fft2(generator.normal(size=(size, size))) / frequency**slope).real
    scaled: Float64Array = noise / noise.std()
    return scaled


def _whole_numbers(picture: Float64Array) -> npt.NDArray[np.float32]:
    return np.rint(np.clip(picture, 0, 255)).astype(np.float32)


__all__ = ["OVERSIZE", "dense_leaves", "sparse_leaves"]
