"""Fusing: what becomes native, what is left and why, and that the fused graph in numpy gives what the portable one gives."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
from native_graphs import (
    assert_equal_but_for_ties,
    attributes,
    body,
    daq,
    fused,
    fusion_of,
    kinds,
    of_bits,
    signal_to_noise,
    the,
    the_first,
)
from native_reference import evaluate
from networks import NETWORKS, PAD, edsr, fsrcnn, picture, run

from daq_deploy.config import DaqConfig
from daq_deploy.passes.native import METADATA_KEY, FuseNative, Fusion
from daq_deploy.quantization import quantize

REAL = ("edsr_f64b5_x2", "rfdn_x4", "rlfn_x4", "srresnet_x4")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_gives_what_the_portable_one_gives(name, bits):
    model = daq(NETWORKS[name](), of_bits(bits))
    image = picture(24, 20)
    proto = assert_equal_but_for_ties(model, image, 35.0)
    half = evaluate(proto, image)[proto.graph.output[0].name]
    assert signal_to_noise(half, run(ir.to_proto(model), image, "DISABLE_ALL")) > 20.0


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", REAL)
def test_a_real_network_is_fused_whole(name, bits, shared_data):
    quantized = quantize(shared_data / "onnx" / f"{name}.onnx", of_bits(bits))
    proto = assert_equal_but_for_ties(quantized.model, picture(24, 20), 30.0)
    found = fusion_of(proto)
    heads = [layer.name for layer in quantized.layers if layer.role == "head"]
    assert not found.of_kind("left")
    assert [layer.name for layer in found.layers if layer.kind == "float"] == heads
    if bits == 8:
        assert len(found.of_kind("exact")) == len(found.layers) - len(heads)
    assert kinds(proto).count("ToPlanar") == 0  # every border is a convolution that gives planar values itself


@pytest.mark.parametrize(
    "config",
    [
        of_bits(4, range_rule="paper", range_bits=8),
        of_bits(3, range_rule="reference"),
        of_bits(2, int2=True),
        of_bits(5, dynamic_batch=True),
        of_bits(4, layers="all", edge_bits=4),
        replace(DaqConfig.of_profile("paper", 4), weight_rule="paper"),
    ],
)
@pytest.mark.parametrize("inline", [False, True])
def test_every_rule_and_form_is_fused(config, inline):
    model = quantize(ir.from_proto(edsr()), config, inline=inline).model if not config.int2 else None
    if model is None:
        source = ir.from_proto(edsr())
        source.opset_imports[""] = source.graph.opset_imports[""] = 25
        model = quantize(source, config, inline=inline).model
    assert_equal_but_for_ties(model, picture(12, 15))


def test_pictures_of_a_batch_have_their_own_ranges():
    model = daq(edsr(), of_bits(4, dynamic_batch=True))
    proto = fused(model)
    images = picture(9, 11, images=2)
    values = evaluate(proto, images, storage=np.float32)
    assert values[the_first(proto, "Range").output[0]].shape == (2, 8)
    truth = run(ir.to_proto(model), images, "DISABLE_ALL")
    assert signal_to_noise(values["y"], truth) > 60


def test_mixed_bits_are_one_a_channel():
    from daq_deploy.api import quantize as quantize_with_pictures

    model = quantize_with_pictures(ir.from_proto(edsr()), of_bits(4, mixed=True)).model
    proto = assert_equal_but_for_ties(model, picture(12, 15))
    sizes = {len(attributes(node)["bits"]) for node in proto.graph.node if node.op_type == "Conv"}
    assert 8 in sizes


def test_a_float_graph_is_left_as_it_is():
    model = ir.from_proto(edsr())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert FuseNative()(model).modified is False
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_fusing_again_changes_nothing():
    model = ir.from_proto(fused(daq(edsr())))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert FuseNative()(model).modified is False
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_the_signature_and_the_metadata_are_kept():
    model = daq(edsr())
    before, after = ir.to_proto(model), fused(model)
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert after.ir_version == before.ir_version
    metadata = {entry.key: entry.value for entry in after.metadata_props}
    assert json.loads(metadata.pop(METADATA_KEY))["version"] == 1
    assert metadata == {entry.key: entry.value for entry in before.metadata_props}
    assert {entry.domain: entry.version for entry in after.opset_import} == {"": 21, "daq.native": 1}
    assert not after.functions


def test_what_a_layer_became_is_told_by_its_name():
    found = fusion_of(fused(daq(fsrcnn())))
    assert [(layer.name, layer.kind) for layer in found.layers] == [
        ("head", "float"), ("shrink", "native"), ("map", "native"), ("expand", "native"), ("last", "left"),
    ]  # fmt: skip
    assert found.layers[-1].reason == "transposed convolution"
    assert Fusion.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}', '{"version": 1, "layers": [{"a": 1}]}']
)
def test_damaged_metadata_are_refused(text):
    with pytest.raises(ValueError, match=r"daq\.native|Expecting value"):
        Fusion.from_json(text)


def test_convolutions_that_are_left_keep_their_blocks():
    proto = fused(daq(NETWORKS["grouped"]()))
    assert [(layer.name, layer.reason) for layer in fusion_of(proto).of_kind("left")] == [
        ("head", "reads a float map"), ("deep", "8 groups"), ("two", "2 groups"),
        ("small", "auto_pad SAME_UPPER with strides: its padding depends on the picture"),
    ]  # fmt: skip
    assert kinds(proto).count("CompandedRange") == 3
    assert [function.name for function in proto.functions] == ["CompandedRange", "NearestLevel"]


def test_statistics_are_asked_for_where_a_range_reads_them():
    proto = fused(daq(edsr()))
    read = {name for node in proto.graph.node if node.op_type == "Range" for name in node.input}
    for node in proto.graph.node:
        if "statistics" in attributes(node):
            assert attributes(node)["statistics"] == int(node.output[1] in read)
    assert 0 in [attributes(node).get("statistics") for node in proto.graph.node if node.op_type == "Conv"] or read


def test_positives_are_counted_where_a_map_cannot_be_negative():
    proto = fused(daq(edsr()))
    ranges = [node for node in proto.graph.node if node.op_type == "Range"]
    read = {name for node in ranges if not attributes(node)["signed"] for name in node.input}
    found = [
        (attributes(node)["positives"], node.output[1] in read) for node in proto.graph.node if node.op_type == "Conv"
    ]
    assert set(found) == {(0, False), (1, True)}


def test_layers_of_many_bits_are_exact_where_coarser_ones_do_not_hide_it():
    def kinds_at(bits: int) -> list[str]:
        return [layer.kind for layer in fusion_of(fused(daq(edsr(), of_bits(bits)))).layers]

    assert kinds_at(4) == kinds_at(5) == ["float"] + ["native"] * 6 + ["exact"]  # edges have 8 bits; the tail ends it
    assert kinds_at(7) == kinds_at(8) == ["float"] + ["exact"] * 7
    config = of_bits(4, edge_bits=4)
    assert {layer.kind for layer in fusion_of(fused(daq(edsr(), config))).layers} == {"native"}


def test_ranges_that_come_from_outside_are_read_as_they_are():
    model = daq(body(f"c = Conv{PAD}(h, c_weight) e = Relu(c)", c_weight=(8, 8, 3, 3)))
    call = next(node for node in model.graph if node.op_type == "ChannelRange")
    lo, step = np.linspace(-300, -100, 8, dtype=np.float32), np.linspace(30, 50, 8, dtype=np.float32)
    for value, array in zip(call.outputs, (lo.reshape(1, 8, 1, 1), step), strict=True):
        given = ir.Value(
            name=f"{value.name}.given", const_value=ir.Tensor(array), type=ir.TensorType(ir.DataType.FLOAT)
        )
        given.shape = ir.Shape(array.shape)
        model.graph.register_initializer(given)
        ir.convenience.replace_all_uses_with(value, given)
    model.graph.remove(call)
    proto = assert_equal_but_for_ties(model, picture(8, 9))
    assert kinds(proto).count("Range") == 1
    assert kinds(proto, "") == ["Reshape", "Reshape"]


def test_subgraphs_are_left_and_what_they_read_is_planar():
    model = daq(edsr())
    proto = ir.to_proto(model)
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["s1"], ["negative"])], "branch", [],
        [onnx.helper.make_tensor_value_info("negative", 1, None)],
    )  # fmt: skip
    other = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["s1"], ["positive"])], "other", [],
        [onnx.helper.make_tensor_value_info("positive", 1, None)],
    )  # fmt: skip
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    proto.graph.node.add(op_type="If", input=["yes"], output=["chosen"]).attribute.extend(
        [onnx.helper.make_attribute("then_branch", branch), onnx.helper.make_attribute("else_branch", other)]
    )
    proto.graph.output.append(onnx.helper.make_tensor_value_info("chosen", 1, [None] * 4))
    found = fused(ir.from_proto(proto))
    assert kinds(found).count("ToPlanar") == 1
    choice = the(found, "If")
    assert list(attributes(choice)["then_branch"].node[0].input) == ["s1"]
    assert the(found, "ToPlanar").output[0] == "s1"


def test_what_cannot_be_native_is_left_and_says_why():
    def reasons(model: ir.Model) -> dict[str, str]:
        copy = model.clone()
        if not FuseNative()(copy).modified:
            return {}
        found = {layer.name: layer.reason for layer in fusion_of(ir.to_proto(copy)).of_kind("left")}
        assert found.pop("head", "reads a float map") == "reads a float map"  # nothing native reads what it gives
        return found

    text = f"c = Conv{PAD}(h, c_weight, c_bias) d = Conv{PAD}(c, d_weight) e = Relu(d)"
    model = daq(body(text, c_weight=(8, 8, 3, 3), c_bias=(8,), d_weight=(8, 8, 3, 3)))
    assert reasons(model) == {}
    convolution = next(node for node in model.graph if node.op_type == "Conv" and len(node.inputs) > 2)
    negated = ir.node("Neg", [convolution.inputs[2]])
    negated.outputs[0].name = "computed"
    model.graph.insert_before(convolution, negated)
    convolution.replace_input_with(2, negated.outputs[0])
    assert reasons(model) == {"c": "its bias is computed at run time"}
    weights = daq(body(text, c_weight=(8, 8, 3, 3), c_bias=(8,), d_weight=(8, 8, 3, 3)))
    convolution = next(node for node in weights.graph if node.op_type == "Conv" and len(node.inputs) > 2)
    moved = ir.node("Neg", [convolution.inputs[1]])
    moved.outputs[0].name = "moved"
    weights.graph.insert_before(convolution, moved)
    convolution.replace_input_with(1, moved.outputs[0])
    assert reasons(weights) == {"c": "its weights are float"}


def test_ranges_that_are_outputs_or_read_by_a_layer_that_is_left_are_those_of_the_native_kernels():
    model = daq(
        body(
            f"""g = Conv<group = 2, pads = [1, 1, 1, 1]>(h, g_weight) c = Conv{PAD}(h, c_weight) s = Add(g, c)
            e = Relu(s)""",
            g_weight=(8, 4, 3, 3), c_weight=(8, 8, 3, 3),
        )
    )  # fmt: skip
    call = next(node for node in model.graph if node.op_type == "ChannelRange")
    for value, shape in zip(call.outputs, ([1, 8, 1, 1], [8]), strict=True):
        value.shape = ir.Shape(shape)
        model.graph.outputs.append(value)
    names = [value.name for value in call.outputs]
    proto = assert_equal_but_for_ties(model, picture(8, 9))
    assert [output.name for output in proto.graph.output] == ["y", *names]
    assert "ChannelRange" not in kinds(proto)
    values = evaluate(proto, picture(8, 9))
    assert [values[name].shape for name in names] == [(1, 8, 1, 1), (8,)]
