"""The five statistics of a channel from which every range rule works."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .steps import LARGEST_SPREAD

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of each channel of each image over its H x W values; float64 arrays (N, C) but for `count`.

    One pass over memory gives them all, and those of tiles of a picture add up to those of the picture.
    """

    count: int
    """Values a channel: H * W."""
    positives: Float64Array
    """How many values are greater than zero."""
    total: Float64Array
    """Sum of the values."""
    total_squares: Float64Array
    """Sum of the squared values."""
    minimum: Float64Array
    maximum: Float64Array

    @classmethod
    def of(cls, feature_map: npt.NDArray[np.float32]) -> ChannelStatistics:
        """Gather the statistics of a feature map (N, C, H, W)."""
        values = feature_map.astype(np.float64)
        axes = (2, 3)
        return cls(
            count=values.shape[2] * values.shape[3],
            positives=np.count_nonzero(feature_map > 0, axis=axes).astype(np.float64),
            total=values.sum(axis=axes),
            total_squares=np.square(values).sum(axis=axes),
            minimum=feature_map.min(axis=axes).astype(np.float64),
            maximum=feature_map.max(axis=axes).astype(np.float64),
        )

    def __add__(self, other: ChannelStatistics) -> ChannelStatistics:
        """Return the statistics over the values of both: of two parts of a picture, or of two pictures."""
        return ChannelStatistics(
            self.count + other.count,
            self.positives + other.positives,
            self.total + other.total,
            self.total_squares + other.total_squares,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
        )

    def reaching(self, other: ChannelStatistics) -> ChannelStatistics:
        """Return these statistics with minimum and maximum wide enough for the values of `other` too."""
        return replace(
            self,
            minimum=np.minimum(self.minimum, other.minimum),
            maximum=np.maximum(self.maximum, other.maximum),
        )

    @property
    def mean(self) -> Float64Array:
        """Mean over all values (N, C)."""
        return self.total / self.count

    def spread(self, signed: bool) -> Float64Array:
        """Return the population standard deviation (N, C): over all values, or over the positive ones if not signed.

        The values of a channel that is not signed must be non-negative, so that their sum is the sum of the positive ones.
        """
        number = np.full_like(self.total, self.count) if signed else np.maximum(self.positives, 1)
        variance = self.total_squares / number - np.square(self.total / number)
        return np.minimum(np.sqrt(np.maximum(variance, 0)), LARGEST_SPREAD)


__all__ = ["ChannelStatistics", "Float64Array"]
