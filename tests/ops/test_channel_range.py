"""The ONNX function under ONNX Runtime against the oracle, by codes: they may differ only at rounding boundaries."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import onnx.checker
import onnx_ir as ir
import onnxruntime
import pytest
from feedbacks import random_feedback
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.numerics import ErrorFeedback
from daq_deploy.numerics.ranges import DEPLOY_TAIL
from daq_deploy.ops import channel_range_function, nearest_level_function
from daq_deploy.passes.blocks import DaqBlock, find_blocks
from daq_deploy.passes.graph import convolutions
from daq_deploy.passes.inline_functions import InlineFunctions
from daq_deploy.passes.plan import LayerReport
from daq_deploy.passes.quantize_activations import QuantizeActivations
from daq_deploy.validation.codes import count_differences, oracle

RULES = ("paper", "reference", "deploy", "companded")
"""`companded` is rule deploy with companded levels."""
LEVELS = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def block_model(
    bits: int,
    rule: str,
    signed: bool,
    range_bits: int | None,
    batch: bool,
    channels: int,
    channel_bits: tuple[int, ...] | None = None,
    feedback: ErrorFeedback | None = None,
) -> ir.Model:
    """One convolution behind a DAQ block."""
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["": 21]>
        g (float[n,{channels},h,w] x) => (float[n,1,h,w] y)
        <float[1,{channels},1,1] weight = {{{", ".join(["1.0"] * channels)}}}> {{ y = Conv(x, weight) }}"""
    )
    (node,) = convolutions(model.graph)
    companded, tail = rule == "companded", float(DEPLOY_TAIL[bits])
    report = LayerReport("conv", "body", FLOAT_BITS, bits, signed, (1, channels, 1, 1), "", tail, companded)
    report = replace(report, channel_bits=channel_bits, error_feedback=feedback is not None, feedback=feedback)
    config = DaqConfig(range_rule="deploy" if companded else rule, range_bits=range_bits, dynamic_batch=batch)
    QuantizeActivations({node: report}, config)(model)
    return model


@cache
def opened(
    bits: int, rule: str, signed: bool, range_bits: int | None, batch: bool, channels: int, level: str
) -> tuple[onnxruntime.InferenceSession, DaqBlock]:
    model = block_model(bits, rule, signed, range_bits, batch, channels)
    (block,) = find_blocks(model)
    proto = ir.to_proto(model)
    names = [value.name for value in (block.codes, block.lo, block.step, block.quantized)]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"]), block


def check(feature_map: np.ndarray, bits: int, rule: str, signed: bool, range_bits: int | None, level: str) -> None:
    images, channels = feature_map.shape[:2]
    session, block = opened(bits, rule, signed, range_bits, images > 1, channels, level)
    codes, lo, step, quantized = session.run([output.name for output in session.get_outputs()[1:]], {"x": feature_map})
    assert lo.shape == (images, channels, 1, 1)
    assert step.shape == (images * channels,)
    assert (step > 0).all()
    assert np.isfinite(quantized).all()
    assert np.isfinite(lo).all()
    codes, step = codes.reshape(feature_map.shape), step.reshape(images, channels)
    _, wrong = count_differences(block, feature_map, codes, step, oracle(feature_map, block))
    assert wrong == 0
    levels = codes.astype(np.float32) * step[:, :, None, None] + lo
    np.testing.assert_array_equal(quantized, levels)


def random_map(shape: tuple[int, ...], seed: int, scale: float, signed: bool) -> np.ndarray:
    generator = np.random.default_rng(seed)
    spreads = 10 ** generator.uniform(-2, 2, (shape[0], shape[1], 1, 1))
    values = (generator.normal(0.2, 1, shape) * spreads * scale).astype(np.float32)
    return values if signed else np.maximum(values, 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_are_the_oracles_at_every_bit_width(bits, signed, rule, level):
    check(random_map((1, 4, 33, 29), bits, 1, signed), bits, rule, signed, None, level)


@pytest.mark.parametrize("range_bits", [4, 8])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_the_oracles_with_quantized_spreads(signed, rule, range_bits):
    check(random_map((1, 32, 17, 20), 5, 1, signed), 4, rule, signed, range_bits, "all")
    check(random_map((2, 32, 9, 8), 6, 1, signed), 4, rule, signed, range_bits, "disabled")


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.sampled_from([1, 3]), st.just(4), st.integers(1, 12), st.integers(1, 12)),
    exponent=st.floats(-9, 9),
    bits=st.sampled_from([2, 4, 8]),
    rule=st.sampled_from(RULES),
    signed=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_codes_are_the_oracles_at_every_size_and_scale(seed, shape, exponent, bits, rule, signed):
    check(random_map(shape, seed, 10**exponent, signed), bits, rule, signed, None, "all")


SPECIAL = {
    "constant": np.full((1, 4, 8, 9), 3.7, np.float32),
    "constant around a large mean": np.full((1, 4, 8, 9), 12345.678, np.float32),
    "zeros": np.zeros((1, 4, 6, 5), np.float32),
    "one dead channel": np.concatenate([np.zeros((1, 1, 8, 8)), random_map((1, 3, 8, 8), 0, 1, False)], 1, dtype="f"),
    "tiny": random_map((1, 4, 8, 8), 1, 1e-12, False),
    "below the smallest normal number": random_map((1, 4, 8, 8), 1, 1e-41, False),
    "huge": random_map((1, 4, 8, 8), 2, 1e20, False),
    "one pixel": np.array([0, 1, 2, 300], np.float32).reshape(1, 4, 1, 1),
    "one row": random_map((1, 4, 1, 50), 3, 1, False),
    "one pixel of a batch": np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1),
    "nearly constant around a large mean": 1000 + random_map((1, 4, 40, 40), 4, 1e-5, False),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", SPECIAL)
def test_special_channels_are_quantized_as_by_the_oracle(kind, rule, signed, level):
    check(SPECIAL[kind], 4, rule, signed, None, level)
    check(SPECIAL[kind], 8, rule, signed, None, level)


@pytest.mark.parametrize("rule", ["deploy", "companded"])
@pytest.mark.parametrize("signed", [True, False])
def test_channels_of_mixed_bits_are_the_oracles(signed, rule):
    model = block_model(4, rule, signed, None, False, 6, channel_bits=(2, 3, 4, 5, 6, 8))
    (block,) = find_blocks(model)
    proto = ir.to_proto(model)
    proto.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in (block.codes, block.step))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feature_map = random_map((1, 6, 33, 29), 7, 1, signed)
    _, codes, step = session.run(None, {"x": feature_map})
    _, wrong = count_differences(block, feature_map, codes, step.reshape(1, -1), oracle(feature_map, block))
    assert wrong == 0
    assert block.companded == (rule == "companded")


@pytest.mark.parametrize("from_left", [False, True])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rule", ["deploy", "companded"])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_fed_back_errors_are_the_oracles(bits, rule, batch, inline, from_left):
    feedback = random_feedback(np.random.default_rng(bits), 21, 0.02, from_left)
    channel_bits = None if bits != 4 else (2, 3, 4, 5, 6, 8, 4) * 3
    model = block_model(bits, rule, True, None, batch > 1, 21, channel_bits, feedback)
    if inline:
        InlineFunctions()(model)
        model.metadata_props.update(inlined_metadata(bits, rule, channel_bits))
    (block,) = find_blocks(model)
    assert block.feedback is not None
    assert block.feedback.order == feedback.order
    assert np.array_equal(block.feedback.coefficients, feedback.coefficients)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    proto.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in (block.codes, block.step))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feature_map = random_map((batch, 21, 17, 13), bits, 1, True)
    _, codes, step = session.run(None, {"x": feature_map})
    codes = codes.reshape(feature_map.shape)
    _, wrong = count_differences(block, feature_map, codes, step.reshape(batch, -1), oracle(feature_map, block))
    assert wrong == 0
    # A code that is moved by one level without a reason is seen, and so is what it does to those after it.
    moved = codes.copy()
    first = feedback.groups[0][0]
    moved[0, first, 3, 4] = moved[0, first, 2, 2] if moved[0, first, 3, 4] != moved[0, first, 2, 2] else 0
    _, wrong = count_differences(block, feature_map, moved, step.reshape(batch, -1), oracle(feature_map, block))
    assert wrong > 0


def inlined_metadata(bits: int, rule: str, channel_bits: tuple[int, ...] | None) -> dict[str, str]:
    """What a file says of how its one layer quantizes."""
    tail, companded = float(DEPLOY_TAIL[bits]), rule == "companded"
    layer = LayerReport("conv", "body", FLOAT_BITS, bits, True, (1, 21, 1, 1), "", tail, companded, True, channel_bits)
    return {
        "daq.config": DaqConfig(range_rule="deploy").to_json(),
        "daq.layers": json.dumps([layer.to_dict()]),
    }


@pytest.mark.parametrize("rule", RULES)
def test_signed_huge_values_do_not_overflow(rule):
    check(random_map((1, 4, 8, 8), 2, 1e20, True), 4, rule, True, None, "all")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("rule", RULES)
def test_a_batch_gives_each_image_its_own_range_bit_for_bit(rule, batch):
    feature_map = random_map((batch, 4, 12, 10), 9, 1, True)
    together, _ = opened(4, rule, True, None, True, 4, "all")
    alone, _ = opened(4, rule, True, None, False, 4, "all")
    expected = [alone.run(["y"], {"x": image[None]})[0] for image in feature_map]
    np.testing.assert_array_equal(together.run(["y"], {"x": feature_map})[0], np.concatenate(expected))


def test_statistics_stay_exact_on_a_large_picture():
    generator = np.random.default_rng(0)
    feature_map = (generator.normal(0, 1, (1, 4, 700, 900)) + 100).astype(np.float32)
    check(feature_map, 8, "paper", True, None, "all")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("range_bits", [None, 4, 8])
@pytest.mark.parametrize("opset", [21, 25])
def test_the_function_passes_the_checker(rule, range_bits, opset):
    model = block_model(4, rule, True, range_bits, False, 4)
    model.graph.opset_imports[""] = opset
    kind = "CompandedRange" if rule == "companded" else "ChannelRange"
    function = channel_range_function("deploy" if rule == "companded" else rule, range_bits, opset, kind)
    model.functions[function.identifier()] = function
    if rule == "companded":
        nearest = nearest_level_function(opset)
        model.functions[nearest.identifier()] = nearest
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
