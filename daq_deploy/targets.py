"""The fewest bits that keep to a target: a drop of PSNR, or the size of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .config import DaqConfig
from .errors import OptionError
from .evaluation import score_pair
from .image_pairs import ImagePair
from .quantization import Quantized
from .runner import Runner

LEAST_BITS, MOST_BITS = 2, 8


@dataclass(frozen=True)
class Attempt:
    """A network quantized at some bits, and what was measured of it."""

    bits: int
    """Of weights and feature maps, or of the weights alone where a size was asked for."""
    quantized: Quantized
    measured: float
    """Drop of PSNR-Y in dB, or size in bytes."""


def lowest_bits(attempt: Callable[[int], Attempt], most_drop: float) -> tuple[Attempt, tuple[Attempt, ...]]:
    """Return the attempt of the fewest bits, 2 to 8, that loses at most `most_drop` dB, and all that were made to find it.

    More bits are taken to lose less: three or four attempts are made.

    Raises:
        OptionError: 8 bits lose more already.
    """
    made: list[Attempt] = []
    low, high, best = LEAST_BITS, MOST_BITS, None
    while low <= high:
        middle = (low + high) // 2
        made.append(attempt(middle))
        if made[-1].measured <= most_drop:
            best, high = made[-1], middle - 1
        else:
            low = middle + 1
    if best is None:
        raise OptionError(f"--target-drop {most_drop:g}: {MOST_BITS} bits lose {made[-1].measured:.3f} dB already")
    return best, tuple(made)


def most_weight_bits(attempt: Callable[[int], Attempt], most_bytes: int, config: DaqConfig) -> Attempt:
    """Return the attempt of the most weight bits whose file has at most `most_bytes`.

    Weights are stored in 8, 4 or, with `int2`, 2 bits: other widths take no less room than these, but for averages of mixed
    ones.

    Raises:
        OptionError: no file is so small.
    """
    widths = range(MOST_BITS, LEAST_BITS - 1, -1) if config.mixed else (8, 4, 2) if config.int2 else (8, 4)
    for bits in widths:
        made = attempt(bits)
        if made.measured <= most_bytes:
            return made
    hint = "" if config.int2 else "; --int2 stores weights in 2 bits"
    raise OptionError(f"--target-size {most_bytes}: {bits}-bit weights give {made.measured:.0f} bytes{hint}")


def mean_drop(reference: Runner, runner: Runner, pairs: Sequence[ImagePair], scale: int) -> float:
    """Return how many dB of PSNR-Y a network is below another, in the mean over pictures."""
    drops = [score_pair(reference, pair, scale).psnr_y - score_pair(runner, pair, scale).psnr_y for pair in pairs]
    return sum(drops) / len(drops)


__all__ = ["LEAST_BITS", "MOST_BITS", "Attempt", "lowest_bits", "mean_drop", "most_weight_bits"]
