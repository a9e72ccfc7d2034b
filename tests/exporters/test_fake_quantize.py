from __future__ import annotations

import numpy as np
import pytest
import torch
from feedbacks import random_feedback
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from daq_deploy import DaqConfig, quantize
from daq_deploy.errors import OptionError
from daq_deploy.exporters.export import _to_onnx
from daq_deploy.exporters.fake_quantize import fake_quantize_network, layer_activations, plan_of
from daq_deploy.exporters.torch_numerics import (
    TINY,
    UNIT_STEPS,
    WEIGHT_RULES,
    LayerPlan,
    Statistics,
    quantize_activation,
)
from daq_deploy.models.edsr import EDSR
from daq_deploy.numerics import ChannelStatistics, channel_range, quantize_weights, with_feedback
from daq_deploy.numerics import quantize as oracle_codes


def feature_map(seed: int, shape: tuple[int, int, int, int], signed: bool) -> Tensor:
    """A map whose channels differ in scale over four orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    scales = 10 ** (4 * torch.rand(1, shape[1], 1, 1, generator=generator) - 2)
    values = (torch.randn(shape, generator=generator) + 0.5) * scales
    return values if signed else values.relu()


@settings(max_examples=60, deadline=None)
@example(
    seed=21309, bits=2, rule="paper", signed=False, range_bits=8, shape=(1, 5, 8, 9)
)  # float32 sums do not suffice
@given(
    seed=st.integers(0, 10**6),
    bits=st.integers(2, 8),
    rule=st.sampled_from(["paper", "reference"]),
    signed=st.booleans(),
    range_bits=st.sampled_from([None, 4, 8]),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)),
)
def test_codes_are_those_of_the_oracle(
    seed: int, bits: int, rule: str, signed: bool, range_bits: int | None, shape: tuple[int, int, int, int]
) -> None:
    values = feature_map(seed, shape, signed)
    found = quantize_activation(values, LayerPlan(4, bits, signed, rule, "paper", range_bits))
    oracle = channel_range(ChannelStatistics.of(values.numpy()), bits, rule, signed, range_bits)
    np.testing.assert_allclose(found.step[..., 0, 0].numpy(), oracle.step, rtol=1e-6)
    np.testing.assert_allclose(found.lo[..., 0, 0].numpy(), oracle.lo, rtol=1e-6, atol=1e-6 * oracle.step.max())
    codes = oracle_codes(values.numpy(), oracle, bits)
    position = ((values - found.lo) / found.step).numpy()
    differs = found.codes.numpy() != codes
    from_tie = np.abs(np.abs(position - np.floor(position)) - 0.5)
    assert np.all(np.abs(found.codes.numpy() - codes) <= 1)
    assert np.all(from_tie[differs] < 1e-4)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bits=st.sampled_from([2, 3, 4, 8]),
    signed=st.booleans(),
    tail=st.floats(0, 1, width=32),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)),
)
def test_companded_levels_are_those_of_the_oracle(
    seed: int, bits: int, signed: bool, tail: float, shape: tuple[int, int, int, int]
) -> None:
    values = feature_map(seed, shape, signed)
    found = quantize_activation(values, LayerPlan(4, bits, signed, "deploy", tail=tail, companded=True))
    oracle = channel_range(ChannelStatistics.of(values.numpy()), bits, "deploy", signed, None, tail, companded=True)
    np.testing.assert_allclose(found.step[..., 0, 0].numpy(), oracle.step, rtol=1e-6)
    np.testing.assert_allclose(found.lo[..., 0, 0].numpy(), oracle.lo, rtol=1e-5, atol=1e-5 * oracle.step.max())
    differs = found.codes.numpy() != oracle_codes(values.numpy(), oracle, bits)
    assert differs.mean() < 0.01  # at ties


@pytest.mark.parametrize("companded", [False, True])
def test_fed_back_errors_are_those_of_the_oracle(companded: bool) -> None:
    values = feature_map(5, (2, 20, 9, 8), True)
    feedback = random_feedback(np.random.default_rng(1), 20, 0.05)
    plan = LayerPlan(4, 4, True, "deploy", tail=0.5, companded=companded, feedback=feedback)
    found = quantize_activation(values, plan)
    oracle = channel_range(ChannelStatistics.of(values.numpy()), 4, "deploy", True, None, 0.5, companded)
    expected = oracle_codes(with_feedback(values.numpy(), oracle, 4, feedback), oracle, 4)
    assert (found.codes.numpy() != expected).mean() < 0.01  # at ties
    assert (oracle_codes(values.numpy(), oracle, 4) != expected).mean() > 0.02


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_are_those_of_the_oracle(bits: int) -> None:
    weight = 0.1 * torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(bits))
    oracle = quantize_weights(weight.numpy(), bits, "paper").dequantize()
    np.testing.assert_allclose(WEIGHT_RULES["paper"](weight, bits).numpy(), oracle, rtol=1e-6)


def test_all_levels_are_used_and_no_more() -> None:
    values = (torch.linspace(-1, 1, 10_000) ** 9).reshape(1, 1, 100, 100)  # long tails: both ends are clipped
    for bits in range(2, 9):
        signed = quantize_activation(values, LayerPlan(4, bits, signed=True))
        assert signed.codes.unique().tolist() == list(range(2**bits))
        outlier = values.relu()
        outlier[..., -1, -1] = 10.0
        positive = quantize_activation(outlier, LayerPlan(4, bits, signed=False))
        assert positive.codes.max() == 2**bits - 1


def test_statistics_of_a_non_negative_map_are_of_its_positive_values() -> None:
    values = torch.tensor([0.0, 0.0, 1.0, 3.0]).reshape(1, 1, 2, 2)
    assert Statistics.of(values, signed=False).spread.item() == 1.0
    assert Statistics.of(values, signed=True).spread.item() == pytest.approx(1.5**0.5)
    assert Statistics.of(values, signed=True).mean.item() == 1.0


@pytest.mark.parametrize("value", [0.0, 1.0, -3.25, 1e-20, 1e6])
@pytest.mark.parametrize("size", [1, 4])
def test_a_constant_channel_stays_what_it_is(value: float, size: int) -> None:
    values = torch.full((1, 2, size, size), value)
    found = quantize_activation(values, LayerPlan(4, 4, signed=True))
    assert torch.allclose(found.values, values, rtol=1e-6, atol=10 * TINY)
    assert quantize_activation(values.abs(), LayerPlan(4, 4, signed=False)).values.isfinite().all()


def test_quantized_spreads_stay_positive() -> None:
    scales = torch.tensor([1e-4, 1.0, 1.1, 1.2, 5.0]).reshape(1, 5, 1, 1)
    values = torch.randn(1, 5, 32, 32, generator=torch.Generator().manual_seed(0)) * scales
    plain = quantize_activation(values, LayerPlan(4, 4, signed=True))
    coarse = quantize_activation(values, LayerPlan(4, 4, signed=True, range_bits=4))
    steps = coarse.step.flatten()
    assert (steps > 0).all()
    assert not torch.equal(steps, plain.step.flatten())
    # Sixteen levels lie unit_step(4) * std apart, so no spread moves by more than half of that.
    spreads = (plain.step / UNIT_STEPS[4]).flatten()
    apart = UNIT_STEPS[4] * spreads.std(correction=0)
    assert ((steps / UNIT_STEPS[4] - spreads).abs() <= 0.5 * apart * 1.001).all()


def small_network() -> EDSR:
    torch.manual_seed(1)
    return EDSR(scale=2, n_resblocks=2, n_feats=8, direct_tail=True, mean_shift=False, value_range=1.0).eval()


def test_a_network_is_quantized_where_the_plan_says() -> None:
    network, image = small_network(), torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(2))
    plan = {
        "body.0.body.0": LayerPlan(4, 4, signed=True),
        "body.0.body.2": LayerPlan(3, 2, signed=False),
        "body.1.body.0": LayerPlan(8, 32, signed=True),
        "body.2": LayerPlan(32, 8, signed=True),
    }
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quantized = fake_quantize_network(network, plan)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())

    activations = layer_activations(quantized, image)
    assert list(activations) == ["body.0.body.0", "body.0.body.2", "body.2"]
    assert activations["body.0.body.2"].codes.unique().tolist() == [0, 1, 2, 3]
    head = network.head(image)
    assert torch.equal(activations["body.0.body.0"].codes, quantize_activation(head, plan["body.0.body.0"]).codes)
    assert len(quantized.get_parameter("body.0.body.2.convolution.weight").unique()) <= 8
    assert len(quantized.get_parameter("body.1.body.0.convolution.weight").unique()) <= 256
    assert torch.equal(quantized.get_parameter("body.2.convolution.weight"), weights["body.2.weight"])

    branch = network.body[0].body
    read = activations["body.0.body.0"].values
    hidden = nn.functional.conv2d(read, WEIGHT_RULES["paper"](branch[0].weight, 4), branch[0].bias, padding=1).relu()
    expected = quantize_activation(hidden, plan["body.0.body.2"])
    assert torch.equal(activations["body.0.body.2"].codes, expected.codes)


def test_eight_bits_change_little_and_two_bits_much() -> None:
    network, image = small_network(), torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    errors = []
    for bits in (8, 4, 2):
        plan = {f"body.{i}.body.{j}": LayerPlan(bits, bits, signed=j == 0) for i in range(2) for j in (0, 2)}
        errors.append((fake_quantize_network(network, plan)(image) - network(image)).square().mean().item())
    assert 0 < errors[0] < 0.1 * errors[1] < 0.5 * errors[2]


def test_a_path_without_a_convolution_is_refused() -> None:
    for path in ("body.7.body.0", "body.0.body.1"):
        with pytest.raises(OptionError, match=f"{path}: the network has no convolution"):
            fake_quantize_network(small_network(), {path: LayerPlan(4, 4, signed=True)})


def test_the_plan_of_a_quantized_graph_fits_the_network() -> None:
    network = small_network()
    config = DaqConfig.of_profile("paper", bits=3)
    plan = plan_of(quantize(_to_onnx(network, 21), config).layers, config)
    assert plan["body.1.body.0"] == LayerPlan(3, 3, signed=True, range_bits=config.range_bits)
    assert plan["body.1.body.2"] == LayerPlan(3, 3, signed=False, range_bits=config.range_bits)
    assert {name.rpartition(".")[0] for name in plan} == {"body.0.body", "body.1.body"}
    fake_quantize_network(network, plan)
