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
from native_reference import evaluate
from networks import NETWORKS, PAD, edsr, fsrcnn, network, picture, rcan, rlfn, run

from daq_deploy.config import DaqConfig
from daq_deploy.passes.native import METADATA_KEY, FuseNative, Fusion
from daq_deploy.quantization import quantize

NEAREST = DaqConfig(weight_rule="nearest")
REAL = ("edsr_f64b5_x2", "rfdn_x4", "rlfn_x4", "srresnet_x4")


def of_bits(bits: int, **options: object) -> DaqConfig:
    return replace(NEAREST, weight_bits=bits, activation_bits=bits, **options)


def daq(model: onnx.ModelProto, config: DaqConfig = NEAREST, inline: bool = False) -> ir.Model:
    return quantize(ir.from_proto(model), config, inline=inline).model


def fused(model: ir.Model) -> onnx.ModelProto:
    copy = model.clone()
    assert FuseNative()(copy).modified is True
    proto = ir.to_proto(copy)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def fusion_of(proto: onnx.ModelProto) -> Fusion:
    return Fusion.from_json({entry.key: entry.value for entry in proto.metadata_props}[METADATA_KEY])


def kinds(proto: onnx.ModelProto, domain: str | None = None) -> list[str]:
    return [node.op_type for node in proto.graph.node if domain is None or node.domain == domain]


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def the(proto: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    (node,) = (node for node in proto.graph.node if node.op_type == kind)
    return node


def signal_to_noise(found: np.ndarray, truth: np.ndarray) -> float:
    noise = np.square(found.astype(np.float64) - truth).sum()
    return float(10 * np.log10(np.square(truth.astype(np.float64)).sum() / max(noise, 1e-300)))


def assert_equal_but_for_ties(model: ir.Model, image: np.ndarray, least: float = 50.0) -> onnx.ModelProto:
    """Maps in float32 leave no difference but codes on a rounding boundary, which small pictures hardly have."""
    proto = fused(model)
    output = proto.graph.output[0].name
    found = evaluate(proto, image, storage=np.float32)[output]
    truth = run(ir.to_proto(model), image, "DISABLE_ALL")
    assert found.shape == truth.shape
    assert signal_to_noise(found, truth) > least
    return proto


def body(text: str, **shapes: object) -> onnx.ModelProto:
    """A network whose head and tail are around `text`, from `h` to `e`, 8 channels both."""
    return network(
        f"h = Conv{PAD}(x, head_weight) {text} y = Conv{PAD}(e, tail_weight)",
        head_weight=(8, 3, 3, 3), tail_weight=(3, 8, 3, 3), **shapes,
    )  # fmt: skip


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
    model = quantize(shared_data / "onnx" / f"{name}.onnx", of_bits(bits)).model
    proto = assert_equal_but_for_ties(model, picture(24, 20), 30.0)
    found = fusion_of(proto)
    assert not found.of_kind("left")
    assert [layer.kind for layer in found.layers].count("float") == 1
    if bits == 8:
        assert len(found.of_kind("exact")) == len(found.layers) - 1
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


def the_first(proto: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.op_type == kind)


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
    assert kinds(proto).count("ChannelRange") == 3
    assert [function.name for function in proto.functions] == ["ChannelRange"]


@pytest.mark.parametrize(
    ("text", "shapes", "expected"),
    [
        (f"c = Conv{PAD}(h, c_weight) e = Relu(c)", {}, {"activation": b"relu", "operand": b"none"}),
        (f"c = Conv{PAD}(h, c_weight) e = Add(c, h)", {}, {"activation": b"none", "operand": b"add"}),
        (f"c = Conv{PAD}(h, c_weight) e = Mul(h, c)", {}, {"operand": b"multiply"}),
        (
            f"c = Conv{PAD}(h, c_weight) s = Add(c, h) e = LeakyRelu<alpha = 0.2>(s)", {},
            {"activation": b"slope", "operand": b"add", "operand_first": 1},
        ),
        (
            f"c = Conv{PAD}(h, c_weight) s = Sigmoid(c) e = Mul(h, s)", {},
            {"activation": b"sigmoid", "operand": b"multiply", "operand_first": 0},
        ),
        (f"c = Conv{PAD}(h, c_weight) e = Tanh(c)", {}, {"activation": b"tanh"}),
        (
            f"c = Conv{PAD}(h, c_weight) p = PRelu(c, slope) e = Add(p, h)",
            {"slope": np.linspace(-0.5, 0.5, 8, dtype=np.float32).reshape(8, 1, 1)},
            {"activation": b"slope", "operand": b"add", "operand_first": 0},
        ),
        ('c = Conv<auto_pad = "SAME_LOWER">(h, c_weight) e = Relu(c)', {}, {"pads": [1, 1, 1, 1]}),
        ('c = Conv<auto_pad = "SAME_UPPER">(h, c_weight) e = Relu(c)', {"c_weight": (8, 8, 2, 4)}, {"pads": [0, 1, 1, 2]}),
        ('c = Conv<auto_pad = "SAME_LOWER">(h, c_weight) e = Relu(c)', {"c_weight": (8, 8, 2, 4)}, {"pads": [1, 2, 0, 1]}),
        ('c = Conv<auto_pad = "VALID", strides = [2, 1]>(h, c_weight) e = Relu(c)', {}, {"pads": [0] * 4, "strides": [2, 1]}),
    ],
)  # fmt: skip
def test_what_follows_a_convolution_is_part_of_it(text, shapes, expected):
    model = daq(body(text, **({"c_weight": (8, 8, 3, 3)} | shapes)))
    proto = assert_equal_but_for_ties(model, picture(9, 11) / 255)  # products of larger maps would saturate
    assert kinds(proto) == ["FloatConv", "Range", "Conv", "Range", "PlanarConv"]
    found = attributes(the(proto, "Conv"))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
@pytest.mark.parametrize("slope", [np.float32(0.1), np.array([0.1, 0.9], np.float32).reshape(1, 2, 1, 1)])
def test_depth_to_space_and_an_activation_of_its_channels_are_part_of_a_convolution(mode, slope):
    model = daq(
        network(
            f"""h = Conv{PAD}(x, head_weight) c = Conv{PAD}(h, up_weight)
            d = DepthToSpace<blocksize = 2, mode = "{mode}">(c) p = PRelu(d, slope) y = Conv{PAD}(p, tail_weight)""",
            head_weight=(4, 3, 3, 3), up_weight=(8, 4, 3, 3), tail_weight=(3, 2, 3, 3), slope=slope,
        )
    )  # fmt: skip
    proto = assert_equal_but_for_ties(model, picture(7, 9))
    assert kinds(proto) == ["FloatConv", "Range", "Conv", "Range", "PlanarConv"]
    assert attributes(the(proto, "Conv"))["mode"] == mode.encode()


def test_depth_to_space_behind_an_operand_stays_onnx_runtimes():
    model = daq(
        network(
            f"""h = Conv{PAD}(x, head_weight) c = Conv{PAD}(h, up_weight) s = Add(c, h)
            d = DepthToSpace<blocksize = 2>(s) y = Conv{PAD}(d, tail_weight)""",
            head_weight=(8, 3, 3, 3), up_weight=(8, 8, 3, 3), tail_weight=(3, 2, 3, 3),
        )
    )  # fmt: skip
    proto = assert_equal_but_for_ties(model, picture(7, 9))
    assert kinds(proto, "") == ["DepthToSpace"]
    assert kinds(proto).count("ToNative") == 1


def test_concat_split_and_slice_of_channels_copy_nothing():
    model = daq(
        body(
            f"""a = Conv{PAD}(h, a_weight) l, r = Split<axis = 1>(a, sizes) b = Conv{PAD}(r, b_weight)
            s = Slice(h, start, end, axis) c = Concat<axis = 1>(l, b, s, h) d = Conv(c, d_weight)
            e = Relu(d)""",
            a_weight=(9, 8, 3, 3), b_weight=(5, 6, 3, 3), d_weight=(8, 19, 1, 1), sizes=np.array([3, 6]),
            start=np.array([-4]), end=np.array([-1]), axis=np.array([1]),
        )
    )  # fmt: skip
    proto = assert_equal_but_for_ties(model, picture(7, 9))
    assert not kinds(proto, "")
    reader = next(node for node in proto.graph.node if attributes(node).get("channels") == [3, 5, 3, 8])
    assert attributes(reader)["first_channel"] == [0, 0, 4, 0]


def test_channels_of_several_maps_are_gathered_where_an_operator_needs_them():
    model = daq(
        body(
            f"""a = Conv{PAD}(h, a_weight) b = Conv{PAD}(h, b_weight) c = Concat<axis = 1>(a, b) d = Conv{PAD}(c, d_weight)
            e = Add(d, c)""",
            a_weight=(3, 8, 3, 3), b_weight=(5, 8, 3, 3), d_weight=(8, 8, 3, 3),
        )
    )  # fmt: skip
    proto = assert_equal_but_for_ties(model, picture(7, 9))
    assert kinds(proto, "") == ["Concat"]
    assert kinds(proto).count("ToPlanar") == 2


def test_an_operand_that_is_broadcast_stays_onnx_runtimes():
    proto = assert_equal_but_for_ties(daq(rcan()), picture(8, 9))
    (gated,) = (node for node in proto.graph.node if node.op_type == "Mul")
    assert gated.domain == ""
    assert "multiply" not in {attributes(node).get("operand", b"").decode() for node in proto.graph.node}


def test_a_value_added_to_itself_is_not_fused_into_its_convolution():
    proto = assert_equal_but_for_ties(
        daq(body(f"c = Conv{PAD}(h, c_weight) e = Add(c, c)", c_weight=(8, 8, 3, 3))), picture(8, 9)
    )
    assert "Add" in kinds(proto, "")


def test_two_convolutions_that_are_added_become_two_nodes():
    text = f"c = Conv{PAD}(h, c_weight) d = Conv{PAD}(h, d_weight) e = Add(c, d)"
    proto = assert_equal_but_for_ties(daq(body(text, c_weight=(8, 8, 3, 3), d_weight=(8, 8, 3, 3))), picture(8, 9))
    assert sorted(kinds(proto)) == ["Conv", "Conv", "FloatConv", "PlanarConv", "Range", "Range"]


def test_elementwise_operators_between_native_maps_stay_native():
    text = f"""c = Conv{PAD}(h, c_weight) d = Conv{PAD}(c, d_weight) s = Add(c, d) n = Mul(c, h) m = LeakyRelu<alpha = 0.3>(n)
    e = Add(s, m)"""
    proto = assert_equal_but_for_ties(
        daq(body(text, c_weight=(8, 8, 3, 3), d_weight=(8, 8, 3, 3))), picture(8, 9) / 255
    )
    assert not kinds(proto, "")
    assert kinds(proto).count("Elementwise") == 2


def test_a_value_is_converted_once_for_all_readers():
    text = f"""c = Conv{PAD}(h, c_weight) p = MaxPool{PAD[:-1]}, kernel_shape = [3, 3]>(c)
    q = AveragePool{PAD[:-1]}, kernel_shape = [3, 3]>(c) d = Conv{PAD}(p, d_weight) f = Add(p, d) g = Add(q, f)
    e = Add(g, c)"""
    proto = assert_equal_but_for_ties(daq(body(text, c_weight=(8, 8, 3, 3), d_weight=(8, 8, 3, 3))), picture(8, 9))
    assert kinds(proto).count("ToPlanar") == 1
    assert kinds(proto).count("ToNative") == 2


def test_a_native_map_that_is_an_output_is_converted_under_its_name():
    model = daq(edsr())
    middle = next(value for node in model.graph for value in node.outputs if value.name == "s1")
    middle.type = ir.TensorType(ir.DataType.FLOAT)
    middle.shape = ir.Shape([1, 8, None, None])
    model.graph.outputs.append(middle)
    proto = fused(model)
    assert [output.name for output in proto.graph.output] == ["y", "s1"]
    assert evaluate(proto, picture(8, 9))["s1"].shape == (1, 8, 8, 9)


def test_the_shape_of_a_native_map_needs_no_conversion():
    proto = assert_equal_but_for_ties(daq(rlfn()), picture(20, 24), 25.0)
    shapes = [node for node in proto.graph.node if node.op_type == "Shape"]
    producers = {name: node for node in proto.graph.node for name in node.output}
    assert "daq.native" in {producers[node.input[0]].domain for node in shapes}
    assert "ToPlanar" not in kinds(proto)


def test_statistics_are_asked_for_where_a_range_reads_them():
    proto = fused(daq(edsr()))
    read = {name for node in proto.graph.node if node.op_type == "Range" for name in node.input}
    for node in proto.graph.node:
        if "statistics" in attributes(node):
            assert attributes(node)["statistics"] == int(node.output[1] in read)
    assert 0 in [attributes(node).get("statistics") for node in proto.graph.node if node.op_type == "Conv"] or read


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
