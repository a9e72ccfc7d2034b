"""The DAQ numerics in PyTorch: a second implementation, against which graphs are tested.

It shares no code with `daq_deploy.numerics`. Statistics are float64, ranges and codes float32. Per image and channel:

    step = max(unit_step * spread, TINY)
    lo   = 0 where the map is non-negative, mean - (L/2 - 1/2) * step otherwise
    code = clip(round_half_even((x - lo) / step), 0, L - 1)

Source: Hong et al., DAQ, WACV 2022 (arXiv 2012.11230); steps of Max, Quantizing for Minimum Distortion, 1960.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from daq_deploy.errors import OptionError
from daq_deploy.numerics import ErrorFeedback

from .companded_levels import COMPANDED_BITS, companded_levels
from .error_feedback import moved_by_errors

TINY = 1e-15
"""Smallest step."""

LARGEST_SPREAD = 2.0**50
"""Largest spread; sums of squares of what has a larger one overflow in float32, in which some implementations compute."""

UNIT_STEPS = {1: 1.5958, 2: 0.9957, 3: 0.5860, 4: 0.3352, 5: 0.1881, 6: 0.1041, 7: 0.0569, 8: 0.0308}
"""Step of the optimal uniform quantizer of a unit Gaussian, by bits."""


@dataclass(frozen=True)
class LayerPlan:
    """How one convolution is quantized."""

    weight_bits: int
    """2 to 8, or 32 for float."""
    activation_bits: int | tuple[int, ...]
    """2 to 8, or 32 for float; or one a channel."""
    signed: bool
    """Whether the feature map that it reads can be negative."""
    range_rule: str = "paper"
    """One of RANGE_RULES."""
    weight_rule: str = "paper"
    """One of WEIGHT_RULES."""
    range_bits: int | None = None
    """Bits to which the spreads of the channels are quantized; None keeps them float."""
    tail: float | tuple[float, ...] | Tensor | None = None
    """Weight of a channel's full extent in the `deploy` rule, 0 to 1; or one a channel."""
    companded: bool = False
    """Whether channels of at most COMPANDED_BITS have levels whose steps grow away from an origin."""
    feedback: ErrorFeedback | None = None
    """What channels make good of what those before them lost."""

    @property
    def bits(self) -> Tensor:
        """Bits of the feature map, int64 (1, C, 1, 1) or (1, 1, 1, 1)."""
        return torch.as_tensor(self.activation_bits).reshape(1, -1, 1, 1)

    @property
    def last_code(self) -> Tensor:
        """Largest code, float64 (1, C, 1, 1) or (1, 1, 1, 1)."""
        return 2.0 ** self.bits.double() - 1


@dataclass(frozen=True)
class Statistics:
    """Statistics of the channels of a feature map over height and width; float64 (N, C, 1, 1)."""

    mean: Tensor
    spread: Tensor
    """Population standard deviation: over all values, or over the positive ones of a non-negative map."""
    minimum: Tensor
    maximum: Tensor

    @classmethod
    def of(cls, feature_map: Tensor, signed: bool) -> Statistics:
        """Gather the statistics of (N, C, H, W)."""
        size = feature_map.shape[2] * feature_map.shape[3]
        counted = None if signed else feature_map > 0
        count = size if counted is None else _sum(counted).clamp(min=1)
        total = _sum(feature_map)
        deviations = feature_map.double().sub_(total / count).square_()  # in place: training does this at every step
        variance = _sum(deviations if counted is None else deviations.mul_(counted)) / count
        return cls(
            mean=total / size,
            spread=variance.sqrt().clamp(max=LARGEST_SPREAD),
            minimum=feature_map.amin(dim=(2, 3), keepdim=True).double(),
            maximum=feature_map.amax(dim=(2, 3), keepdim=True).double(),
        )


def _sum(values: Tensor) -> Tensor:
    """Sum (N, C, H, W) over height and width in float64; (N, C, 1, 1)."""
    return values.sum(dim=(2, 3), keepdim=True, dtype=torch.float64)


@dataclass(frozen=True)
class QuantizedActivation:
    """A feature map (N, C, H, W) as codes and the levels they stand for."""

    lo: Tensor
    """Lowest level, float32 (N, C, 1, 1)."""
    step: Tensor
    """Distance of the levels, float32 (N, C, 1, 1)."""
    codes: Tensor
    """0 to 2^bits - 1, or units above `lo` of companded levels, float32 (N, C, H, W)."""

    @property
    def values(self) -> Tensor:
        """The levels, float32 (N, C, H, W): what the convolution reads."""
        return self.codes * self.step + self.lo


RangeRule = Callable[[Statistics, LayerPlan], tuple[Tensor, Tensor]]


def _paper_range(statistics: Statistics, plan: LayerPlan) -> tuple[Tensor, Tensor]:
    return _gaussian_range(statistics, plan, plan.bits)


def _reference_range(statistics: Statistics, plan: LayerPlan) -> tuple[Tensor, Tensor]:
    return _gaussian_range(statistics, plan, plan.bits - 1)


def _gaussian_range(statistics: Statistics, plan: LayerPlan, step_bits: Tensor) -> tuple[Tensor, Tensor]:
    step = (_unit_step(step_bits).to(statistics.spread.device) * statistics.spread).clamp(min=TINY)
    lo = statistics.mean - plan.last_code.to(step.device) / 2 * step if plan.signed else torch.zeros_like(step)
    return lo, step


def _deploy_range(statistics: Statistics, plan: LayerPlan) -> tuple[Tensor, Tensor]:
    return _even_levels(plan, *_clips(statistics, plan))


def _even_levels(plan: LayerPlan, centre: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Spread the levels evenly between the clips."""
    return centre - below, ((below + above) / plan.last_code.to(below.device)).clamp(min=TINY)


def _clips(statistics: Statistics, plan: LayerPlan) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the levels are centred, and how far they go below and above.

    Each side is clipped at the weighted geometric mean of the Gaussian's clip and the side's extent.
    """
    if plan.tail is None:
        raise OptionError("range rule deploy: the layer's tail is missing")
    device = statistics.spread.device
    tail = torch.as_tensor(plan.tail, dtype=torch.float64, device=device).reshape(1, -1, 1, 1)
    gaussian = _unit_step(plan.bits).to(device) * statistics.spread * plan.last_code.to(device)
    if not plan.signed:
        top = torch.minimum(gaussian ** (1 - tail) * statistics.maximum**tail, statistics.maximum)
        return torch.zeros_like(top), torch.zeros_like(top), top
    below, above = (
        torch.minimum((gaussian / 2) ** (1 - tail) * extent**tail, extent)
        for extent in (
            (statistics.mean - statistics.minimum).clamp(min=0),
            (statistics.maximum - statistics.mean).clamp(min=0),
        )
    )
    return statistics.mean, below, above


def _unit_step(bits: Tensor) -> Tensor:
    return torch.tensor([math.nan, *UNIT_STEPS.values()], dtype=torch.float64)[bits]


RANGE_RULES: dict[str, RangeRule] = {"deploy": _deploy_range, "paper": _paper_range, "reference": _reference_range}
"""From statistics and plan to lo and step; `reference` is the step of the authors' released code."""


def _paper_weights(weight: Tensor, bits: int) -> Tensor:
    step = (UNIT_STEPS[bits] * weight.double().std(correction=0)).clamp(min=TINY).float()
    half = 2 ** (bits - 1)
    codes = torch.floor(weight / step).clamp(-half, half - 1)
    return (codes + 0.5) * step


def _nearest_weights(weight: Tensor, bits: int) -> Tensor:
    rows = weight.double().flatten(1)
    half = 2 ** (bits - 1)
    offset = 0.5 if bits <= 3 else 0.0  # few levels lie half a step off zero

    def levels(step: Tensor) -> Tensor:
        return ((rows / step - offset).round().clamp(-half, half - 1) + offset) * step

    widest = rows.abs().amax(dim=1) / (half - 0.5)
    candidates = (torch.linspace(1, 0.2, 81, dtype=torch.float64)[:, None] * widest).clamp(min=TINY)[:, :, None]
    errors = torch.stack([(levels(step) - rows).square().sum(dim=1) for step in candidates])
    step = candidates.gather(0, errors.argmin(dim=0)[None, :, None])[0].float()
    return levels(step.double()).float().reshape(weight.shape)


WEIGHT_RULES: dict[str, Callable[[Tensor, int], Tensor]] = {"nearest": _nearest_weights, "paper": _paper_weights}
"""From weights (O, I, kH, kW) and bits to the weights that the codes stand for."""


def quantize_activation(feature_map: Tensor, plan: LayerPlan) -> QuantizedActivation:
    """Quantize a float32 feature map (N, C, H, W) by the ranges of its own channels."""
    if plan.companded:
        lo, step, nearest_codes = _companded_levels(feature_map, plan)
    else:
        lo, step = activation_range(feature_map, plan)
        nearest_codes = _nearest_even_codes(lo, step, plan)
    if plan.feedback is not None:
        feature_map = moved_by_errors(feature_map, lo, step, nearest_codes, plan.feedback)
    return QuantizedActivation(lo, step, nearest_codes(feature_map))


def _nearest_even_codes(lo: Tensor, step: Tensor, plan: LayerPlan) -> Callable[[Tensor], Tensor]:
    return lambda values: torch.round((values - lo) / step).clamp(torch.zeros(()), plan.last_code.float())


def activation_range(feature_map: Tensor, plan: LayerPlan) -> tuple[Tensor, Tensor]:
    """Return lo and step of every channel, float32 (N, C, 1, 1). Gradients reach the plan's tail and nothing else."""
    lo, step = RANGE_RULES[plan.range_rule](_statistics(feature_map, plan), plan)
    return lo.float(), step.float()


@torch.no_grad()
def _statistics(feature_map: Tensor, plan: LayerPlan) -> Statistics:
    statistics = Statistics.of(feature_map, plan.signed)
    if plan.range_bits is None:
        return statistics
    return replace(statistics, spread=_quantize_spreads(statistics.spread, plan.range_bits))


def _companded_levels(feature_map: Tensor, plan: LayerPlan) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Return lo, step and what rounds to the nearest level: 3, 7, 12, 18 ... units from a channel's origin on both sides."""
    centre, below, above = _clips(_statistics(feature_map, plan), plan)
    lo, step = (values.float() for values in _even_levels(plan, centre, below, above))
    bits = plan.bits.expand_as(centre)
    positions: dict[tuple[int, int], Tensor] = {}
    for image, channel in (bits <= COMPANDED_BITS)[:, :, 0, 0].nonzero().tolist():
        place = (image, channel, 0, 0)
        found = companded_levels(int(bits[place]), below[place], above[place])
        unit = found.unit.clamp(min=TINY)
        lo[place], step[place] = centre[place] - found.origin * unit, unit
        positions[image, channel] = found.positions
    nearest_even_codes = _nearest_even_codes(lo, step, plan)

    def nearest_codes(values: Tensor) -> Tensor:
        codes = nearest_even_codes(values)
        for (image, channel), levels in positions.items():
            position = (values[image, channel] - lo[image, channel]) / step[image, channel]
            between = (levels[1:] + levels[:-1]) / 2
            codes[image, channel] = levels[torch.bucketize(position.contiguous(), between)]
        return codes

    return lo, step, nearest_codes


def _quantize_spreads(spread: Tensor, bits: int) -> Tensor:
    """Quantize the spreads (N, C, 1, 1) of each image across its channels; one that would vanish keeps its own."""
    step = (UNIT_STEPS[bits] * spread.std(dim=1, keepdim=True, correction=0)).clamp(min=TINY)
    lo = spread.mean(dim=1, keepdim=True) - (2 ** (bits - 1) - 0.5) * step
    levels = torch.round((spread - lo) / step).clamp(0, 2**bits - 1) * step + lo
    return torch.where(levels > 0, levels, spread)


__all__ = [
    "LARGEST_SPREAD",
    "RANGE_RULES",
    "TINY",
    "UNIT_STEPS",
    "WEIGHT_RULES",
    "LayerPlan",
    "QuantizedActivation",
    "Statistics",
    "activation_range",
    "quantize_activation",
]
