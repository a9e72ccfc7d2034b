"""Hand bits out, one by one, each to where it lowers the error of the network's output most."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq_deploy.numerics.statistics import Float64Array

LEAST_BITS, MOST_BITS = 2, 8
WIDTHS = range(LEAST_BITS, MOST_BITS + 1)


@dataclass(frozen=True)
class Claim:
    """Some units of equal size, each of which is to get bits."""

    values: int
    """Values of a unit: what one bit more of it takes from the budget."""
    costs: Float64Array
    """Estimated error of the output by bits and unit, (len(WIDTHS), units)."""


def hand_out(claims: Sequence[Claim], average: int) -> list[tuple[int, ...]]:
    """Return the bits of each claim's units; weighted by their values they are at most `average` on average.

    No worse, by the costs, than `average` for all: large units can leave a rest of the budget in which no bit of theirs fits.
    """
    bits = [np.full(claim.costs.shape[1], LEAST_BITS) for claim in claims]
    budget = sum(claim.values * claim.costs.shape[1] for claim in claims) * (average - LEAST_BITS)
    queue: list[tuple[float, int, int]] = []

    def offer(index: int, unit: int) -> None:
        """Queue a unit's next bit; its gain is the best average over the bits to come, so that no step hides a better."""
        claim, at = claims[index], int(bits[index][unit]) - LEAST_BITS
        costs = claim.costs[at:, unit]
        if len(costs) > 1:
            falls = (costs[0] - costs[1:]) / np.arange(1, len(costs))
            heapq.heappush(queue, (-float(falls.max()) / claim.values, index, unit))

    for index, claim in enumerate(claims):
        for unit in range(claim.costs.shape[1]):
            offer(index, unit)
    while queue:
        _, index, unit = heapq.heappop(queue)
        if claims[index].values <= budget:
            budget -= claims[index].values
            bits[index][unit] += 1
            offer(index, unit)
    uniform = [np.full_like(some, average) for some in bits]
    chosen = bits if _cost(claims, bits) < _cost(claims, uniform) else uniform
    return [tuple(int(number) for number in some) for some in chosen]


def _cost(claims: Sequence[Claim], bits: Sequence[npt.NDArray[np.int64]]) -> float:
    return sum(
        float(np.take_along_axis(claim.costs, some[None] - LEAST_BITS, axis=0).sum())
        for claim, some in zip(claims, bits, strict=True)
    )


__all__ = ["LEAST_BITS", "MOST_BITS", "WIDTHS", "Claim", "hand_out"]
