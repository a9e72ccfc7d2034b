from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NETWORKS, PAD, edsr, network, picture, rlfn, run, wide

from daq_deploy import DaqConfig, quantize
from daq_deploy.calibration import (
    Calibration,
    tails,
)
from daq_deploy.calibration.bit_budget import LEAST_BITS, MOST_BITS, WIDTHS, Claim, hand_out
from daq_deploy.calibration.tails import TAILS, Search
from daq_deploy.errors import OptionError
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.quantization import Quantized
from daq_deploy.quantization import quantize as quantize_graph
from daq_deploy.runtime.executor import OrtExecutor
from daq_deploy.validation.codes import code_outputs, count_differences, oracle


@pytest.fixture
def float_path(tmp_path: Path) -> Path:
    path = tmp_path / "float.onnx"
    onnx.save(edsr(), path)
    return path


def quick(images: np.ndarray | None = None) -> Calibration:
    """A calibration on one small picture."""
    return Calibration(picture(24, 24) if images is None else images, OrtExecutor(21, threads=1))


def mean_error(data: bytes, proto: onnx.ModelProto) -> float:
    image = picture(31, 26)
    return float(np.square(run(onnx.load_from_string(data), image) - run(proto, image)).mean())


def test_weights_and_ranges_are_told_from_pictures_of_their_own(float_path):
    def made_from(images: np.ndarray, images_of_weights: np.ndarray | None) -> Quantized:
        calibration = replace(quick(images), images_of_weights=images_of_weights)
        return quantize_graph(float_path, DaqConfig(), calibration=calibration)

    picture_of_ranges, picture_of_weights = np.split(picture(24, 24, images=2), 2)
    both, one = made_from(picture_of_ranges, picture_of_weights), made_from(picture_of_ranges, None)
    assert [layer.tail for layer in both.layers] == [layer.tail for layer in one.layers]
    same = made_from(picture_of_ranges, picture_of_ranges)
    assert same.calibrated.keys() == one.calibrated.keys()
    for name, layer in same.calibrated.items():
        np.testing.assert_array_equal(layer.weights.codes, one.calibrated[name].weights.codes)
    changed = [
        np.any(layer.weights.codes != one.calibrated[name].weights.codes) for name, layer in both.calibrated.items()
    ]
    assert any(changed)


@pytest.mark.parametrize(("bits", "count"), [(2, 16), (3, 16), (4, 8), (8, 8)])
def test_weights_of_few_bits_are_tried_on_dense_pictures_which_they_have_not_seen(bits, count, float_path, monkeypatch):
    module = importlib.import_module("daq_deploy.calibration.calibrate")
    error_held_out, tried = module._error_held_out, []

    def count_pictures(graph, plan, config, execute, held_out, layers):
        tried.append(len(held_out.images))
        return error_held_out(graph, plan, config, execute, held_out, layers)

    monkeypatch.setattr(module, "_error_held_out", count_pictures)
    quantize(float_path, DaqConfig.of_profile("deploy", bits))
    assert set(tried) == {count}


@pytest.mark.parametrize(("explosion", "taken"), [(0.0, 1), (np.inf, 0)])
def test_the_strong_pull_is_taken_where_the_weak_one_explodes(explosion, taken, float_path, monkeypatch):
    module = importlib.import_module("daq_deploy.calibration.calibrate")  # the package has a function of that name
    ridge = module.RIDGES[taken]
    monkeypatch.setattr(module, "EXPLOSION", explosion)
    chosen = quantize_graph(float_path, DaqConfig(), calibration=quick()).to_bytes()
    monkeypatch.setattr(module, "RIDGES", (ridge, ridge))
    assert quantize_graph(float_path, DaqConfig(), calibration=quick()).to_bytes() == chosen
    other = (3.0, 0.03)[taken]
    monkeypatch.setattr(module, "RIDGES", (other, other))
    assert quantize_graph(float_path, DaqConfig(), calibration=quick()).to_bytes() != chosen


@pytest.mark.parametrize("better", [False, True])
def test_feedback_is_left_out_where_a_network_explodes_with_it_and_less_without(better, monkeypatch):
    module = importlib.import_module("daq_deploy.calibration.calibrate")
    error_held_out = module._error_held_out

    def explodes(graph, plan, *others):
        fed_back = any(layer.error_feedback for layer in plan.values())
        return error_held_out(graph, plan, *others) + (1e6 if fed_back else 1e5 if better else 1e7)

    monkeypatch.setattr("daq_deploy.calibration.feedback.WORTH", 0.0)
    model = ir.from_proto(wide())
    config = replace(DaqConfig.of_profile("deploy", bits=4), edges=("head", "tail"))
    chosen = quantize_graph(model, config, calibration=quick())
    assert any(layer.error_feedback for layer in chosen.layers)
    monkeypatch.setattr(module, "_error_held_out", explodes)
    exploded = quantize_graph(model, config, calibration=quick())
    assert any(layer.error_feedback for layer in exploded.layers) is not better


def test_progress_says_that_weights_are_rounded_a_second_time(float_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("daq_deploy.calibration.calibrate"), "EXPLOSION", 0.0)
    seen: list[str] = []
    calibration = replace(quick(), progress=lambda title, share: seen.append(title))
    quantize_graph(float_path, DaqConfig(range_rule="paper"), calibration=calibration)
    assert list(dict.fromkeys(seen)) == ["Rounding weights", "Rounding weights again"]


@pytest.mark.parametrize("build", [edsr, rlfn])
def test_calibrated_weights_and_ranges_are_nearer_to_float(build, tmp_path):
    proto, path = build(), tmp_path / "float.onnx"
    onnx.save(proto, path)
    plain = quantize_graph(path, DaqConfig(weight_rule="nearest"))
    calibrated = quantize_graph(path, DaqConfig(), calibration=quick())
    assert mean_error(calibrated.to_bytes(), proto) < 0.8 * mean_error(plain.to_bytes(), proto)
    assert {layer.tail for layer in calibrated.layers if layer.activation_bits == 4} <= set(TAILS)
    onnx.checker.check_model(onnx.load_from_string(calibrated.to_bytes()), full_check=True)


def test_the_search_finds_the_least_error_and_then_the_smallest_tail_that_does_as_well():
    errors = dict(zip(TAILS, (9.0, 5.0, 1.2, 1.1, 1.0, 2.0, 3.0), strict=True))
    tried: list[float] = []

    def error_with(tail: float) -> float:
        tried.append(tail)
        return errors[tail]

    search = Search(error_with, 0.5)
    assert search.least_error == 1.0
    assert [search.smallest_tail(allowed) for allowed in (0, 0.15, 0.3, 100)] == [0.7, 0.5, 0.3, 0.0]
    assert len(tried) == len(set(tried))
    assert Search(lambda tail: 0.0, 0.5).smallest_tail(0.0) == 0.5


def test_a_map_that_is_read_at_two_widths_has_companded_levels_at_four_bits_alone(tmp_path, monkeypatch):
    proto = network(
        f"h = Conv{PAD}(x, head_weight) b = Conv{PAD}(h, body_weight) r = Relu(b) c = Conv{PAD}(r, more_weight) "
        f"t = Conv{PAD}(h, tail_weight) y = Add(t, c)",
        head_weight=(4, 3, 3, 3), body_weight=(4, 4, 3, 3), more_weight=(3, 4, 3, 3), tail_weight=(3, 4, 3, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "float.onnx")
    config = DaqConfig(weight_rule="nearest")
    monkeypatch.setattr(tails, "with_even_levels", lambda layer: replace(layer, tail=0.0))  # companded levels win
    layers = quantize_graph(tmp_path / "float.onnx", config, calibration=quick()).layers
    assert {layer.activation_bits for layer in layers} >= {4, 8}
    assert any(layer.companded for layer in layers)
    assert not any(layer.companded for layer in layers if layer.activation_bits != 4)


@pytest.mark.parametrize("bound", ["TOLERANCE", "INVISIBLE"])
def test_both_bounds_hold_the_smaller_tails_back(bound, float_path, monkeypatch):
    def tails_with(tolerance: float, invisible: float) -> list[float | None]:
        monkeypatch.setattr(tails, "TOLERANCE", tolerance)
        monkeypatch.setattr(tails, "INVISIBLE", invisible)
        layers = quantize_graph(float_path, DaqConfig(weight_rule="nearest"), calibration=quick()).layers
        return [layer.tail for layer in layers if layer.tail is not None]

    best = tails_with(0, 0)
    assert set(tails_with(1e9, 1e9)) == {0.0} != set(best)
    assert tails_with(*((0, 1e9) if bound == "TOLERANCE" else (1e9, 0))) == best


def test_the_same_command_gives_the_same_bytes_and_says_on_what_it_calibrated(float_path):
    config = DaqConfig(mixed=True)
    first, again = (quantize_graph(float_path, config, calibration=quick()).to_bytes() for _ in range(2))
    assert first == again
    other = quantize_graph(float_path, config, calibration=quick(picture(30, 30))).model.metadata_props
    assert other["daq.calibration"] != ir.from_proto(onnx.load_from_string(first)).metadata_props["daq.calibration"]


@pytest.mark.parametrize("config", [DaqConfig(), DaqConfig(weight_rule="nearest", mixed=True)])
def test_rules_that_run_the_network_ask_for_a_calibration(config, float_path):
    with pytest.raises(OptionError, match="give a calibration"):
        quantize_graph(float_path, config)


def test_the_python_interface_calibrates_by_itself(float_path):
    seen: list[str] = []
    result = quantize(float_path, DaqConfig(), progress=lambda title, share: seen.append(title))
    assert result.model.metadata_props["daq.calibration"]
    assert list(dict.fromkeys(seen)) == ["Choosing ranges", "Choosing error feedback", "Rounding weights"]


@pytest.mark.parametrize("name", ["edsr", "rcan", "rlfn"])
@pytest.mark.parametrize("colour", [0, 128, 255])
def test_pictures_of_one_colour_can_be_calibrated_on(name, colour, tmp_path):
    onnx.save(NETWORKS[name](), tmp_path / "float.onnx")
    flat = np.full((2, 3, 24, 24), colour, np.float32)
    result = quantize_graph(tmp_path / "float.onnx", DaqConfig(mixed=True), calibration=quick(flat))
    assert np.isfinite(run(onnx.load_from_string(result.to_bytes()), picture(24, 24))).all()


def test_a_network_of_one_channel_is_calibrated(tmp_path):
    proto = network("h = Conv(x, h_weight) r = Relu(h) y = Conv(r, t_weight)", channels=1,
                    h_weight=(6, 1, 3, 3), t_weight=(4, 6, 3, 3))  # fmt: skip
    onnx.save(proto, tmp_path / "float.onnx")
    assert quantize_graph(tmp_path / "float.onnx", DaqConfig(), calibration=quick()).layers[1].quantized


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_mixed_bits_keep_their_average_and_are_nearer_to_float(bits, float_path):
    config = replace(DaqConfig.of_profile("deploy", bits), weight_rule="nearest", weight_bits=8)
    same = quantize_graph(float_path, config, calibration=quick())
    mixed = quantize_graph(float_path, replace(config, mixed=True), calibration=quick())
    numbers = np.concatenate([layer.channel_bits for layer in mixed.layers if layer.channel_bits])
    assert numbers.mean() <= bits
    assert numbers.mean() > bits - 0.2
    assert numbers.min() >= LEAST_BITS
    assert numbers.max() <= MOST_BITS
    if bits > LEAST_BITS:
        assert mean_error(mixed.to_bytes(), edsr()) < mean_error(same.to_bytes(), edsr())


@pytest.mark.parametrize("bits", [2, 4])
def test_mixed_bits_of_weights_keep_their_average_and_are_nearer_to_float(bits, float_path):
    # Eight bits of activations on average are eight in each channel: only weights differ.
    config = replace(DaqConfig.of_profile("deploy", bits), activation_bits=8, edges=("head", "tail"))
    same, mixed = (
        quantize_graph(float_path, replace(config, mixed=mixed), calibration=quick()) for mixed in (False, True)
    )
    body = [layer for layer in mixed.layers if layer.role in ("body", "closing", "upsampler")]
    sizes = [np.prod(layer.weight_shape) for layer in body]
    average = np.average([layer.weight_bits for layer in body], weights=sizes)
    assert bits - 0.5 < average <= bits
    if bits > LEAST_BITS:
        assert len({layer.weight_bits for layer in body}) > 1
        assert mean_error(mixed.to_bytes(), edsr()) < mean_error(same.to_bytes(), edsr())
    for layer in mixed.layers:
        if layer in body:
            codes = mixed.calibrated[layer.name].weights.codes
            assert -(2 ** (layer.weight_bits - 1)) <= codes.min() <= codes.max() < 2 ** (layer.weight_bits - 1)


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=8),
    average=st.integers(LEAST_BITS, MOST_BITS),
    seed=st.integers(0, 1000),
)
def test_bits_are_handed_out_within_the_budget_and_never_worse_than_the_same_for_all(sizes, average, seed):
    generator = np.random.default_rng(seed)
    claims = [Claim(size, generator.lognormal(size=3) * 4.0 ** -np.arange(len(WIDTHS))[:, None]) for size in sizes]
    bits = hand_out(claims, average)
    assert all(LEAST_BITS <= number <= MOST_BITS for some in bits for number in some)
    given_out = sum(claim.values * sum(some) for claim, some in zip(claims, bits, strict=True))
    assert given_out <= average * sum(3 * size for size in sizes)
    costs = sum(
        claim.costs[number - LEAST_BITS, unit]
        for claim, some in zip(claims, bits, strict=True)
        for unit, number in enumerate(some)
    )
    assert costs <= sum(claim.costs[average - LEAST_BITS].sum() for claim in claims) * (1 + 1e-9)


def test_a_small_layer_does_not_take_what_a_large_one_needs():
    falling = 4.0 ** -np.arange(len(WIDTHS))[:, None]
    assert hand_out([Claim(36864, falling), Claim(4096, falling)], 4) == [(4,), (4,)]


def test_a_layer_that_reads_a_pooled_map_keeps_its_weight_bits(tmp_path):
    proto = network(
        f"h = Conv{PAD}(x, head_weight) b = Conv{PAD}(h, body_weight) g = GlobalAveragePool(b) s = Conv(g, gate_weight) "
        f"m = Mul(b, s) c = Conv{PAD}(m, next_weight) y = Conv{PAD}(c, tail_weight)",
        head_weight=(8, 3, 3, 3), body_weight=(8, 8, 3, 3), gate_weight=(8, 8, 1, 1), next_weight=(8, 8, 3, 3),
        tail_weight=(3, 8, 3, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "float.onnx")
    layers = quantize_graph(tmp_path / "float.onnx", DaqConfig(mixed=True), calibration=quick()).layers
    gate = next(layer for layer in layers if layer.weight_shape == (8, 8, 1, 1))
    assert (gate.role, gate.weight_bits) == ("body", 4)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("images", [1, 3])
def test_mixed_codes_are_those_of_the_oracle(inline, images, float_path):
    config = DaqConfig(weight_rule="nearest", mixed=True, dynamic_batch=images > 1)
    result = quantize_graph(float_path, config, calibration=quick(), inline=inline)
    blocks = [block for block in find_blocks(result.model) if not isinstance(block.bits, int)]
    assert len(blocks) == 4
    proto = onnx.load_from_string(result.to_bytes())
    names = code_outputs(blocks)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.concatenate([picture(17, 21) * (index + 1) / images for index in range(images)])
    values = dict(zip(names, session.run(names, {"x": image}), strict=True))
    for block in blocks:
        feature_map, step = values[block.feature_map.name], values[block.step.name]
        codes = values[block.codes.name].reshape(feature_map.shape)
        assert (codes <= (2**block.bits - 1).reshape(-1, 1, 1)).all()
        expected = oracle(feature_map, block)
        assert count_differences(block, feature_map, codes, step.reshape(codes.shape[:2]), expected)[1] == 0
