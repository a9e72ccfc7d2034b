from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from daq_deploy.exporters.torch_numerics import LayerPlan, quantize_activation
from daq_deploy.finetuning.quantizers import TrainableConv2d
from daq_deploy.numerics import quantize_weights


def layer(
    weight_bits: int = 4, bits: int = 4, signed: bool = True, tail: float = 0.3, channels: int = 3
) -> TrainableConv2d:
    torch.manual_seed(0)
    plan = LayerPlan(weight_bits, bits, signed, "deploy", "nearest")
    return TrainableConv2d(nn.Conv2d(channels, 5, 3, padding=1), plan, tail, torch.zeros(()))


def picture(seed: int, signed: bool, shape: tuple[int, int, int, int] = (2, 3, 9, 7)) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.3
    return values if signed else values.relu()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bits=st.integers(2, 8),
    signed=st.booleans(),
    tail=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_what_is_read_is_what_the_fake_quantizer_gives(seed: int, bits: int, signed: bool, tail: float) -> None:
    values = picture(seed, signed)
    expected = quantize_activation(values, LayerPlan(4, bits, signed, "deploy", "nearest", tail=tail)).values
    assert torch.equal(layer(bits=bits, signed=signed, tail=tail).quantize_activations(values), expected)


@pytest.mark.parametrize("bits", range(2, 9))
def test_before_training_weights_are_rounded_as_without(bits: int) -> None:
    convolution = layer(weight_bits=bits)
    expected = quantize_weights(convolution.weight.detach().numpy(), bits, "nearest").dequantize()
    torch.testing.assert_close(convolution.quantized_weight.detach(), torch.from_numpy(expected), rtol=1e-6, atol=1e-7)


def test_gradients_pass_inside_the_range_and_stop_outside() -> None:
    values = picture(1, signed=True).requires_grad_()
    convolution = layer(bits=2, tail=0.0)
    convolution.quantize_activations(values).sum().backward()
    plan = LayerPlan(4, 2, True, "deploy", "nearest", tail=0.0)
    found = quantize_activation(values.detach(), plan)
    position = (values.detach() - found.lo) / found.step
    inside = ((position >= 0) & (position <= 3)).float()
    assert 0 < inside.mean() < 1
    assert torch.equal(values.grad, inside)


def test_gradient_of_the_tail_is_that_of_the_levels_with_codes_held() -> None:
    values = picture(2, signed=False)
    convolution = layer(bits=2, signed=False, tail=0.4)
    towards = torch.randn(values.shape, generator=torch.Generator().manual_seed(3))
    (convolution.quantize_activations(values) * towards).sum().backward()

    def levels(tail: float) -> Tensor:
        plan = LayerPlan(4, 2, False, "deploy", "nearest", tail=tail)
        here, there = (quantize_activation(values, at) for at in (LayerPlan(4, 2, False, "deploy", tail=0.4), plan))
        position = values / here.step
        inside = position <= 3
        residue = torch.where(inside, here.codes - position, here.codes)  # what the straight-through rule leaves
        return residue * there.step

    numerical = ((levels(0.401) - levels(0.399)) * towards).sum() / 0.002
    torch.testing.assert_close(convolution.tail.grad, numerical, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("signed", [False, True])
def test_constant_channels_give_finite_gradients(signed: bool) -> None:
    values = torch.zeros(1, 3, 4, 4)
    values[:, 1] = 2.0
    values.requires_grad_()
    convolution = layer(bits=2, signed=signed)
    convolution(values).square().sum().backward()
    for gradient in (values.grad, convolution.tail.grad, convolution.weight.grad, convolution.weight_step.grad):
        assert bool(torch.isfinite(gradient).all())


def test_the_tail_stays_between_0_and_1() -> None:
    convolution = layer()
    for value, kept in ((1.3, 1.0), (-0.2, 0.0), (0.5, 0.5)):
        with torch.no_grad():
            convolution.tail.fill_(value)
        convolution.keep_in_range()
        assert convolution.tail.item() == kept


def test_only_the_deploy_rule_trains() -> None:
    with pytest.raises(ValueError, match="deploy"):
        TrainableConv2d(nn.Conv2d(3, 3, 3), LayerPlan(4, 4, True, "paper"), None, torch.zeros(()))
