from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import PAD, edsr, esrgan, grouped, network
from node_by_node import node_by_node

from daq_deploy.calibration import (
    Calibration,
    OutputSensitivity,
    calibrate,
    choose_feedback,
    choose_tails,
    choose_tails_with_feedback,
    synthetic_mosaics,
)
from daq_deploy.calibration.adjoint import convolved_back, output_gradients
from daq_deploy.calibration.calibration import quantized_map
from daq_deploy.calibration.felt_errors import RIDGE, feedback_of
from daq_deploy.calibration.tails import TAILS
from daq_deploy.config import DaqConfig
from daq_deploy.numerics import with_feedback
from daq_deploy.numerics.activations import dequantize, quantize
from daq_deploy.numerics.error_feedback import GROUP
from daq_deploy.numerics.ranges import channel_range
from daq_deploy.numerics.statistics import ChannelStatistics
from daq_deploy.passes.graph import convolutions
from daq_deploy.passes.plan import plan_layers, with_even_levels
from daq_deploy.runtime.executor import OrtExecutor

BODIES = {
    "residual": edsr(),
    "nearest": esrgan(),
    "grouped": grouped(),
    "padded": network(
        """a = Conv<auto_pad = "SAME_LOWER", strides = [2, 3]>(x, a_weight)
        b = Conv<auto_pad = "SAME_UPPER">(a, b_weight)
        y = Conv<auto_pad = "VALID">(b, c_weight)""",
        a_weight=(4, 3, 4, 2), b_weight=(4, 4, 2, 3), c_weight=(3, 4, 2, 1),
    ),
    "ops": network(
        f"""a = Conv<pads = [1, 0, 1, 1], strides = [2, 1]>(x, a_weight, a_bias) p = PRelu(a, slope)
        b = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(p, b_weight) s = Sigmoid(b) m = Mul(p, s) d = Div(m, two)
        left, right = Split<axis = 1, num_outputs = 2>(d) c = Concat<axis = 1>(right, left, p) t = Tanh(c)
        u = Sub(t, c) moved = Transpose<perm = [0, 1, 3, 2]>(u) back = Transpose<perm = [0, 1, 3, 2]>(moved)
        e = Conv{PAD}(back, e_weight) l = LeakyRelu<alpha = 0.1>(e)
        g = Conv<group = 2, pads = [1, 1, 1, 1]>(l, g_weight) bias = Add(g, shift)
        y = DepthToSpace<blocksize = 2, mode = "DCR">(bias)""",
        a_weight=(6, 3, 3, 2), a_bias=(6,), slope=(6, 1, 1), b_weight=(6, 6, 3, 3), two=np.float32(2),
        e_weight=(8, 12, 3, 3), g_weight=(12, 4, 3, 3), shift=(12, 1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_gradients_tell_what_small_errors_do_to_the_output(name):
    graph = ir.from_proto(BODIES[name]).graph
    execute = OrtExecutor(21, threads=1)
    generator = np.random.default_rng(0)
    sensitivity = OutputSensitivity(graph, generator.normal(size=(2, 3, 9, 8)).astype(np.float32), execute)
    readers = convolutions(graph)
    found = output_gradients(graph, sensitivity.values, execute, readers, seed=3)
    assert set(found) == set(readers)
    output = sensitivity.value(graph.outputs[0])
    signs = np.random.default_rng(3).integers(0, 2, output.shape) * 2 - 1
    for node, gradient in found.items():
        values = sensitivity.value(node.inputs[0])
        error = generator.normal(size=values.shape).astype(np.float32) * np.float32(1e-2)
        changed = [outputs_with(sensitivity, graph, node, values + sign * error, execute) for sign in (1, -1)]
        assert gradient.shape == sensitivity.value(node.outputs[0]).shape
        read = convolved_back(node, values.shape, sensitivity.weights(node), gradient, execute)
        told = float((read.astype(np.float64) * error).sum())
        true = float((signs * (changed[0] - changed[1]).astype(np.float64)).sum()) / 2
        size = float(np.linalg.norm(read) * np.linalg.norm(error))
        assert abs(told - true) <= 0.02 * size, node.name


def outputs_with(sensitivity, graph, changed_node, feature_map, execute) -> np.ndarray:
    """The output where one node reads another map."""
    image = sensitivity.value(graph.inputs[0])
    return node_by_node(graph, image, execute, {changed_node: {0: feature_map}})[graph.outputs[0]]


def test_a_branch_that_nothing_is_carried_through_counts_as_constant():
    weights = {"a_weight": (4, 3, 3, 3), "b_weight": (3, 4, 3, 3), "c_weight": (3, 4, 3, 3)}
    body = f"""a = Conv{PAD}(x, a_weight) largest = MaxPool<kernel_shape = [1, 1]>(a) b = Conv{PAD}(largest, b_weight)
        c = Conv{PAD}(a, c_weight)"""
    both, alone = (
        ir.from_proto(network(f"{body} {last}", **weights)).graph for last in ("y = Add(c, b)", "y = Identity(c)")
    )
    execute = OrtExecutor(21, threads=1)
    found = []
    for graph in (both, alone):
        sensitivity = OutputSensitivity(graph, np.ones((1, 3, 4, 4), np.float32), execute)
        first = convolutions(graph)[0]
        found.append(output_gradients(graph, sensitivity.values, execute, [first])[first])
    assert np.any(found[0])
    assert np.array_equal(*found)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), channels=st.integers(GROUP + 1, 40), bits=st.integers(2, 6))
def test_feedback_lowers_what_errors_cost(seed, channels, bits):
    generator = np.random.default_rng(seed)
    decay = np.exp(-np.arange(channels) / 6)
    here, to_the_right = (generator.normal(size=(channels, channels)) * decay for _ in range(2))

    def output(error: np.ndarray) -> np.ndarray:
        """What a pixel shows of its own error and of that of its left neighbour, (K, H, W)."""
        before = np.pad(error, ((0, 0), (0, 0), (1, 0)))[..., :-1]
        return np.einsum("ki,ihw->khw", here, error) + np.einsum("ki,ihw->khw", to_the_right, before)

    one, two = here.T @ here + to_the_right.T @ to_the_right, to_the_right.T @ here
    cost = np.block([[one, two], [two.T, one]])
    spread = 10 ** generator.uniform(-1, 1, channels)
    feature_map = (generator.normal(size=(1, channels, 24, 24)) * spread[:, None, None]).astype(np.float32)
    levels = channel_range(ChannelStatistics.of(feature_map), bits, "deploy", True, None, 0.9)
    feedback = feedback_of(cost, spread, True)
    assert sorted(feedback.order) == list(range(-(-channels // GROUP)))
    in_the_pixel = feedback_of(cost, spread, False)
    assert not in_the_pixel.coefficients[:, :channels].any()

    def costs(values: np.ndarray) -> float:
        error = (dequantize(quantize(values, levels, bits), levels) - feature_map)[0]
        return float(np.square(output(error.astype(np.float64))).sum())

    both, own = (costs(with_feedback(feature_map, levels, bits, found)) for found in (feedback, in_the_pixel))
    assert both < costs(feature_map)
    assert both < own


@pytest.mark.parametrize("from_left", [False, True])
def test_the_order_and_the_coefficients_are_those_of_the_definition(from_left):
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(60, 44)) * np.exp(-generator.uniform(0, 2, 44))
    cost, spread = rows.T @ rows, 10 ** generator.uniform(-1, 1, 22)
    feedback = feedback_of(cost, spread, from_left)
    measure = np.tile(spread, 2)
    weighted = cost * np.outer(measure, measure)
    weighted += RIDGE * np.diagonal(weighted).mean() * np.eye(44)
    groups = dict(zip((0, 1, 2), (np.arange(8), np.arange(8, 16), np.arange(16, 22)), strict=True))
    later = np.arange(22, 44 if from_left else 22)
    for expected in reversed(feedback.order):
        answers = {
            group: -np.linalg.solve(weighted[np.ix_(later, later)], weighted[np.ix_(later, own)])
            for group, own in groups.items()
        }
        left = {
            group: np.trace(weighted[np.ix_(own, own)] + weighted[np.ix_(own, later)] @ answers[group])
            for group, own in groups.items()
        }
        assert min(left, key=left.__getitem__) == expected
        own = groups.pop(expected)
        moved = np.zeros((44, len(own)))
        moved[later] = answers[expected]
        moved *= np.outer(measure, 1 / spread[own])
        np.testing.assert_allclose(feedback.coefficients[:, own], moved[22:], rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(feedback.coefficients[:, 22 + own], moved[:22], rtol=2e-3, atol=1e-4)
        later = np.concatenate([own, later])


def test_channels_that_no_error_reaches_get_no_feedback():
    feedback = feedback_of(np.zeros((40, 40)), np.zeros(20), True)
    assert not feedback.coefficients.any()
    assert np.isfinite(feedback_of(np.eye(40), np.zeros(20), True).coefficients).all()


def wide_network() -> onnx.ModelProto:
    """Maps of more channels than a group, the last of which is read by a 1x1 convolution."""
    return network(
        f"""head = Conv{PAD}(x, head_weight) r = Relu(head)
        b = Conv<pads = [2, 2, 2, 2]>(r, b_weight) s = Add(b, head)
        c = Conv(s, c_weight) y = Conv{PAD}(c, tail_weight)""",
        head_weight=(24, 3, 3, 3), b_weight=(24, 24, 5, 5), c_weight=(6, 24, 1, 1), tail_weight=(3, 6, 3, 3),
    )  # fmt: skip


@pytest.fixture
def all_feedback_is_worth_its_time(monkeypatch):
    monkeypatch.setattr("daq_deploy.calibration.feedback.WORTH", 0.0)
    monkeypatch.setattr("daq_deploy.calibration.feedback.WORTH_OF_FEW_BITS", 0.0)


@pytest.mark.parametrize(
    ("bits", "worth", "worth_of_few_bits", "expected"),
    [
        (3, 1e6, 0.0, {"b", "c"}),
        (3, 0.0, 1e6, set()),
        (4, 0.0, 1e6, {"b", "c"}),
        (4, 1e6, 0.0, set()),
        (6, 0.0, 1e6, {"b", "c"}),
        (8, 0.0, 0.0, set()),
    ],
)
def test_feedback_is_chosen_below_eight_bits_where_it_is_worth_its_time(
    monkeypatch, bits, worth, worth_of_few_bits, expected
):
    monkeypatch.setattr("daq_deploy.calibration.feedback.WORTH", worth)
    monkeypatch.setattr("daq_deploy.calibration.feedback.WORTH_OF_FEW_BITS", worth_of_few_bits)
    config = replace(DaqConfig.of_profile("deploy", bits), edges=("head", "tail"))
    graph = ir.from_proto(wide_network()).graph
    execute = OrtExecutor(21, threads=1)
    sensitivity = OutputSensitivity(graph, synthetic_mosaics()[:1, :, :32, :32], execute)
    plan = choose_tails(sensitivity, plan_layers(graph, config), config, lambda title, share: None)
    chosen, felt_errors = choose_feedback(sensitivity, plan, config, lambda title, share: None)
    assert {layer.name for layer in chosen.values() if layer.error_feedback} == expected
    assert set(felt_errors) == {node for node, layer in chosen.items() if layer.error_feedback}
    assert all((layer.feedback is not None) == layer.error_feedback for layer in chosen.values())
    assert {node: replace(layer, error_feedback=False, feedback=None) for node, layer in chosen.items()} == plan


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_tails_and_levels_of_few_bits_are_those_that_suit_feedback(all_feedback_is_worth_its_time, bits, monkeypatch):
    monkeypatch.setattr("daq_deploy.calibration.tails.INVISIBLE", 0.0)
    config = replace(DaqConfig.of_profile("deploy", bits), edges=("head", "tail"))
    graph = ir.from_proto(wide_network()).graph
    sensitivity = OutputSensitivity(graph, synthetic_mosaics()[:1, :, :32, :32], OrtExecutor(21, threads=1))
    usual = plan_layers(graph, config)
    fed_back, _ = choose_feedback(sensitivity, usual, config, lambda title, share: None)
    found = choose_tails_with_feedback(sensitivity, usual, fed_back, config, lambda title, share: None)
    assert found.keys() == usual.keys()
    for node, layer in fed_back.items():
        if not layer.error_feedback or bits > 3:
            assert found[node] == layer
            continue

        def error(layer, node=node):
            return sensitivity.output_error(
                {node: {0: quantized_map(sensitivity.value(node.inputs[0]), layer, config)}}
            )

        chosen = found[node]
        assert chosen.feedback is layer.feedback
        assert error(chosen) <= min(error(layer), error(with_even_levels(layer)))
        at = TAILS.index(chosen.tail)
        for tail in TAILS[max(at - 1, 0) : at + 2]:
            assert error(chosen) <= error(replace(chosen, tail=tail))


def test_calibration_makes_the_feedback_that_suits_the_rounded_weights(all_feedback_is_worth_its_time):
    config = replace(DaqConfig.of_profile("deploy", 3), edges=("head", "tail"))
    graph = ir.from_proto(wide_network()).graph
    execute = OrtExecutor(21, threads=1)
    pictures = synthetic_mosaics()[:1, :, :32, :32]
    sensitivity = OutputSensitivity(graph, pictures, execute)
    plan = choose_tails(sensitivity, plan_layers(graph, config), config, lambda title, share: None)
    chosen, felt_errors = choose_feedback(sensitivity, plan, config, lambda title, share: None)
    calibration = Calibration(pictures, execute, held_out=pictures)
    found, layers = calibrate(graph, chosen, config, calibration, felt_errors)
    assert len(felt_errors) == 2
    for node, felt in felt_errors.items():
        expected = felt.feedback({node: layers[node].weights.dequantize()})
        assert found[node].feedback.order == expected.order
        assert np.array_equal(found[node].feedback.coefficients, expected.coefficients)
        assert not np.array_equal(found[node].feedback.coefficients, chosen[node].feedback.coefficients)


def test_readers_of_one_map_have_one_feedback(all_feedback_is_worth_its_time):
    body = f"""head = Conv{PAD}(x, head_weight) a = Conv{PAD}(head, a_weight) b = Conv{PAD}(head, b_weight) s = Add(a, b)
        y = Conv{PAD}(s, tail_weight)"""
    square = (12, 12, 3, 3)
    graph = ir.from_proto(
        network(body, head_weight=(12, 3, 3, 3), a_weight=square, b_weight=square, tail_weight=(3, 12, 3, 3))
    ).graph
    config = replace(DaqConfig.of_profile("deploy", 4), edges=("head", "tail"))
    execute = OrtExecutor(21, threads=1)
    pictures = synthetic_mosaics()[:1, :, :24, :24]
    sensitivity = OutputSensitivity(graph, pictures, execute)
    chosen, felt_errors = choose_feedback(sensitivity, plan_layers(graph, config), config, lambda title, share: None)
    found, layers = calibrate(graph, chosen, config, Calibration(pictures, execute, held_out=pictures), felt_errors)
    first, second = felt_errors
    expected = felt_errors[first].feedback({node: layers[node].weights.dequantize() for node in (first, second)})
    for node in (first, second):
        assert np.array_equal(found[node].feedback.coefficients, expected.coefficients)
