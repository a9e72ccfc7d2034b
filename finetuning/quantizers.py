"""A convolution whose quantizers train: the numerics of `daq_deploy.exporters.fake_quantize`, with gradients.

Rounding passes gradients straight through inside the range and stops them outside (Bengio et al., arXiv 1308.3432); those of
lo and step are what is left of the levels then (LSQ, Esser et al., ICLR 2020, section 2.1):

    d level / d x    = 1 inside, 0 outside
    d level / d step = code - position inside, code outside      position = (x - lo) / step
    d level / d lo   = 0 inside, 1 outside

Statistics of feature maps carry no gradient (DAQ, WACV 2022, section 3.4). What trains beside weights and biases: the step of
each output channel's weights, and the tail of the range rule, one a layer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from daq_deploy.config import FLOAT_BITS
from daq_deploy.exporters.torch_numerics import LayerPlan, activation_range
from daq_deploy.numerics.weights import is_mid_rise, least_squares_step

NEARLY_HALF = 0.45
"""How far, in steps, a weight may start from the level it is to round to."""


class _RoundToLevels(torch.autograd.Function):
    """Round x to the levels lo + code * step, 0 <= code <= last_code."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lo: Tensor, step: Tensor, last_code: Tensor) -> Tensor:
        position = (x - lo) / step
        codes = position.round().clamp_(torch.zeros_like(last_code), last_code)
        ctx.save_for_backward(position, codes, last_code)
        ctx.range_shape = step.shape
        return codes * step + lo

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        position, codes, last_code = ctx.saved_tensors
        inside = (position >= 0) & (position <= last_code)
        for_x = gradient * inside
        for_lo = for_step = None
        if ctx.needs_input_grad[1]:
            for_lo = (gradient - for_x).sum_to_size(ctx.range_shape)
        if ctx.needs_input_grad[2]:
            for_step = (gradient * codes).sub_(for_x * position).sum_to_size(ctx.range_shape)
        return for_x, for_lo, for_step, None


def _round_to_levels(x: Tensor, lo: Tensor, step: Tensor, last_code: Tensor) -> Tensor:
    levels: Tensor = _RoundToLevels.apply(x, lo, step, last_code)  # type: ignore[no-untyped-call]
    return levels


class TrainableConv2d(nn.Conv2d):
    """A convolution that quantizes its weights and what it reads, both as the graph will, and lets both train.

    Parameters, beside weight and bias:
        weight_step: step of each output channel (O,), as the logarithm of its ratio to `initial_step`.
        tail: weight of a channel's full extent in range rule `deploy`, 0 to 1; absent where feature maps stay float.

    Raises:
        ValueError: the plan's range rule is not `deploy`, it has no tail, or its levels are companded.
    """

    initial_step: Tensor
    tail_shift: Tensor
    last_code: Tensor

    def __init__(self, convolution: nn.Conv2d, plan: LayerPlan, tail: float | None, tail_shift: Tensor) -> None:
        if plan.activation_bits != FLOAT_BITS and (plan.range_rule != "deploy" or tail is None):
            raise ValueError(f"only range rule deploy has a tail that trains, not {plan.range_rule}")
        if plan.companded:
            raise ValueError("only even levels train, not companded ones")
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            convolution.dilation,  # type: ignore[arg-type]
            convolution.groups,
            convolution.bias is not None,
            convolution.padding_mode,
        )
        self.load_state_dict(convolution.state_dict())
        self.plan = plan
        rows = convolution.weight.detach().flatten(1).double().cpu().numpy()
        self.weight_step: nn.Parameter | None = None
        if plan.weight_bits != FLOAT_BITS:
            self.register_buffer("initial_step", torch.from_numpy(least_squares_step(rows, plan.weight_bits)))
            self.weight_step = nn.Parameter(torch.zeros(len(rows)))
        self.tail = None if plan.activation_bits == FLOAT_BITS else nn.Parameter(torch.tensor(tail))
        self.register_buffer("tail_shift", tail_shift)
        self.register_buffer("last_code", plan.last_code.float())

    @torch.no_grad()
    def start_from(self, levels: Tensor, step: Tensor, bias_change: Tensor) -> None:
        """Begin at codes that were chosen otherwise than by rounding to the nearest.

        Each weight stays as near to where it is as rounding to its level allows: on the level itself it would have half a
        step to go before any code changes.

        Args:
            levels: what the weights are to round to (O, I, kH, kW).
            step: of each output channel (O,).
            bias_change: what the bias gains (O,); a layer without bias goes without.
        """
        self.initial_step.copy_(step)
        reach = NEARLY_HALF * step.reshape(-1, 1, 1, 1)
        self.weight.clamp_(levels - reach, levels + reach)
        if self.bias is not None:
            self.bias.add_(bias_change)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(self.quantize_activations(x), self.quantized_weight, self.bias)
        return output

    def quantize_activations(self, x: Tensor) -> Tensor:
        """Return what the convolution reads in place of a feature map (N, C, H, W)."""
        if self.tail is None:
            return x
        tail = (self.tail + self.tail_shift).clamp(0, 1)
        lo, step = activation_range(x, replace(self.plan, tail=tail))
        return _round_to_levels(x, lo, step, self.last_code)

    @property
    def step(self) -> Tensor:
        """Step of each output channel's weights, float32 (O,)."""
        assert self.weight_step is not None
        return self.initial_step * self.weight_step.exp()

    @property
    def quantized_weight(self) -> Tensor:
        """The weights that the codes stand for, float32 (O, I, kH, kW)."""
        if self.weight_step is None:
            return self.weight
        bits = self.plan.weight_bits
        step = self.step.reshape(-1, 1, 1, 1)
        lowest = -(2 ** (bits - 1)) + (0.5 if is_mid_rise(bits) else 0.0)
        return _round_to_levels(self.weight, lowest * step, step, torch.full_like(step, 2.0**bits - 1))

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """Bring the tail back to 0..1, after a step of the optimizer may have left it."""
        if self.tail is not None:
            self.tail.clamp_(0, 1)


__all__ = ["TrainableConv2d"]
