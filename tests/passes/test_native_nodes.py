"""Fusing: what follows a convolution, what moves channels, and borders between native maps and ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import pytest
from native_graphs import (
    assert_equal_but_for_ties,
    attributes,
    body,
    daq,
    fused,
    kinds,
    of_bits,
    signal_to_noise,
    the,
)
from native_reference import evaluate
from networks import PAD, edsr, network, picture, rcan, rlfn, run


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


@pytest.mark.parametrize("gate_first", [False, True])
@pytest.mark.parametrize("reduce_mean", [False, True])
def test_channel_attention_reads_statistics_and_is_computed_with_native_maps(gate_first, reduce_mean):
    network = rcan(gate_first)
    if reduce_mean:
        (pool,) = (node for node in network.graph.node if node.op_type == "GlobalAveragePool")
        pool.op_type = "ReduceMean"
        pool.input.append("space")
        network.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, -2]), "space"))
    proto = assert_equal_but_for_ties(daq(network), picture(8, 9))
    left = [kind for kind in kinds(proto, "") if kind != "DequantizeLinear"]  # of weights
    assert left == ["Gather", "Gather", "Div", "Cast", "Unsqueeze", "Conv", "Relu", "Conv", "Sigmoid"]
    assert kinds(proto).count("ToNative") == 1  # of the gate
    assert "ToPlanar" not in kinds(proto)
    assert kinds(proto).count("Elementwise") == 1
    assert attributes(the(proto, "Elementwise"))["operand"] == b"add"


def test_channel_attention_is_that_of_each_picture():
    model = daq(rcan(), of_bits(4, dynamic_batch=True))
    images = picture(9, 11, images=2)
    found = evaluate(fused(model), images, storage=np.float32)["y"]
    assert signal_to_noise(found, run(ir.to_proto(model), images, "DISABLE_ALL")) > 50


def test_an_operand_of_one_row_stays_onnx_runtimes():
    text = f"""c = Conv{PAD}(h, c_weight) m = ReduceMean<keepdims = 1>(c, rows) e = Mul(c, m)"""
    proto = assert_equal_but_for_ties(daq(body(text, c_weight=(8, 8, 3, 3), rows=np.array([2]))), picture(8, 9) / 255)
    assert kinds(proto, "") == ["ReduceMean", "Mul"]


def test_a_value_added_to_itself_is_not_fused_into_its_convolution():
    proto = assert_equal_but_for_ties(
        daq(body(f"c = Conv{PAD}(h, c_weight) e = Add(c, c)", c_weight=(8, 8, 3, 3))), picture(8, 9)
    )
    assert "Add" in kinds(proto, "")


def test_a_sum_has_the_size_of_its_operand_by_name():
    proto = fused(
        daq(body(f"c = Conv{PAD}(h, c_weight) s = Add(c, h) g = Sigmoid(s) e = Mul(g, s)", c_weight=(8, 8, 3, 3)))
    )
    onnx.checker.check_model(proto)
    sizes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in proto.graph.value_info
        if len(value.type.tensor_type.shape.dim) == 4 and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    named = ["h.native.N", "h.native.H", "h.native.W", 16]
    assert sizes == dict.fromkeys(["h.native", "s.native", "e.native"], named)


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


NATIVE_SIZES = [
    ('Resize<mode = "linear">(c, , factors)', "Resize"),
    ('Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(c, , , size)', "Resize"),
    (
        'Resize<mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric">(c, , factors)',
        "Resize",
    ),
    ("MaxPool<kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 1]>(c)", "MaxPool"),
    ('MaxPool<kernel_shape = [2, 2], auto_pad = "VALID">(c)', "MaxPool"),
]
PLANAR_SIZES = [
    'Resize<mode = "cubic">(c, , factors)',
    'Resize<mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric">(c, , factors)',
    'Resize<mode = "linear", antialias = 1>(c, , factors)',
    'Resize<mode = "nearest", axes = [2, 3]>(c, , two)',
    "MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(c)",
    "MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(c)",
    'MaxPool<kernel_shape = [2, 2], auto_pad = "SAME_UPPER">(c)',
    "AveragePool<kernel_shape = [2, 2]>(c)",
]


def resampled(text: str) -> ir.Model:
    factors, two = np.array([1, 1, 2, 2], np.float32), np.array([2, 2], np.float32)
    size = np.array([1, 8, 30, 20])
    return daq(
        body(f"c = Conv{PAD}(h, c_weight) e = {text}", c_weight=(8, 8, 3, 3), factors=factors, two=two, size=size)
    )


@pytest.mark.parametrize(("text", "kind"), NATIVE_SIZES)
def test_what_changes_the_size_of_a_native_map_stays_native(text, kind):
    proto = assert_equal_but_for_ties(resampled(text), picture(8, 9))
    assert not kinds(proto, "")
    assert kinds(proto) == ["FloatConv", "Range", "Conv", kind, "Range", "PlanarConv"]


def test_a_map_is_resized_to_a_size_that_is_computed():
    text = """c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(h, c_weight)
    images = Shape<end = 2>(c) size = Shape<start = 2>(h)
    full = Concat<axis = 0>(images, size) e = Resize<mode = "linear">(c, , , full)"""
    proto = assert_equal_but_for_ties(daq(body(text, c_weight=(8, 8, 3, 3))), picture(9, 12))
    native = ["FloatConv", "Range", "Conv", "Resize", "Range", "PlanarConv"]
    assert kinds(proto, "daq.native") == native


def test_what_is_resized_before_it_is_quantized_again_is_exact():
    layers = [node for node in fused(daq(rlfn())).graph.node if node.op_type in ("Conv", "PlanarConv")]
    assert [node.name for node in layers if attributes(node)["exact"]] == ["e2", "e3", "up"]


def test_a_concatenation_that_is_resized_stays_planar():
    text = f"""c = Conv{PAD}(h, c_weight) d = Conv{PAD}(c, d_weight) both = Concat<axis = 1>(c, d)
    r = Resize<mode = "linear">(both, , factors) e = Conv{PAD}(r, e_weight)"""
    factors = np.array([1, 1, 2, 2], np.float32)
    shapes = {"c_weight": (8, 8, 3, 3), "d_weight": (8, 8, 3, 3), "e_weight": (8, 16, 3, 3), "factors": factors}
    proto = assert_equal_but_for_ties(daq(body(text, **shapes)), picture(9, 12))
    assert kinds(proto, "") == ["Concat", "Resize"]


@pytest.mark.parametrize("text", PLANAR_SIZES)
def test_what_the_native_operators_do_not_compute_stays_onnx_runtimes(text):
    proto = assert_equal_but_for_ties(resampled(text), picture(8, 9))
    assert kinds(proto, "") == [text[: text.index("<")]]
    assert kinds(proto).count("ToNative") == 1


def test_a_value_is_converted_once_for_all_readers():
    text = f"""c = Conv{PAD}(h, c_weight) p = AveragePool<kernel_shape = [1, 3], pads = [0, 1, 0, 1]>(c)
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
