from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir as ir
import pytest
from networks import NETWORKS, PAD, edsr, network, picture, rcan, run

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ModelError
from daq_deploy.metrics import psnr
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.passes.graph import convolutions
from daq_deploy.quantization import Quantized, quantize

NEAREST = DaqConfig(weight_rule="nearest")
"""Nothing is run to choose weights: quick, and the same anywhere."""
RULES = ("paper", "reference", "deploy")


def quantized(proto: onnx.ModelProto, config: DaqConfig, tmp_path: Path, **options) -> Quantized:
    path = tmp_path / "float.onnx"
    onnx.save(proto, path)
    return quantize(path, config, **options)


def checked(proto: onnx.ModelProto, config: DaqConfig, tmp_path: Path, **options) -> onnx.ModelProto:
    result = onnx.load_from_string(quantized(proto, config, tmp_path, **options).to_bytes())
    onnx.checker.check_model(result, full_check=True)
    assert [value.name for value in result.graph.input] == [value.name for value in proto.graph.input]
    assert [value.name for value in result.graph.output] == [value.name for value in proto.graph.output]
    return result


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("inline", [False, True])
def test_every_kind_of_network_runs_and_stays_close_at_8_bits(name, rule, inline, tmp_path):
    config = replace(NEAREST, weight_bits=8, activation_bits=8, range_rule=rule)
    proto = NETWORKS[name]()
    result = checked(proto, config, tmp_path, inline=inline)
    image = picture(24, 20)
    expected = run(proto, image)
    peak = np.abs(expected).max() / 255
    assert psnr(run(result, image) / peak, expected / peak) > 30
    if inline:
        assert not result.functions
        assert "If" not in {node.op_type for node in result.graph.node}
        assert {entry.domain for entry in result.opset_import} <= {""}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_optimization_levels_agree_bit_for_bit_and_sizes_may_be_odd(name, dynamic_batch, tmp_path):
    proto = NETWORKS[name]()
    result = checked(proto, replace(NEAREST, dynamic_batch=dynamic_batch), tmp_path)
    for height, width in ((1, 1), (1, 7), (5, 3), (17, 33)):
        image = picture(height, width)
        try:
            expected = run(proto, image)
        except Exception:  # where the float network itself does not run at this size
            continue
        first = run(result, image, "DISABLE_ALL")
        assert first.shape == expected.shape
        assert np.isfinite(first).all()
        for level in ("ENABLE_BASIC", "ENABLE_EXTENDED"):
            np.testing.assert_array_equal(run(result, image, level), first)
        assert np.isfinite(run(result, image)).all()


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_equals_single_runs_bit_for_bit(name, inline, tmp_path):
    proto = NETWORKS[name]()
    result = checked(proto, replace(NEAREST, dynamic_batch=True), tmp_path, inline=inline)
    images = picture(12, 9, images=3)
    together = run(result, images, "ENABLE_BASIC")
    alone = [run(result, image[None], "ENABLE_BASIC") for image in images]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    one = checked(proto, NEAREST, tmp_path, inline=inline)
    np.testing.assert_array_equal(run(one, images[:1], "ENABLE_BASIC"), alone[0])


@pytest.mark.parametrize("range_bits", [None, 4, 8])
@pytest.mark.parametrize("rule", RULES)
def test_an_inlined_file_computes_the_same_bit_for_bit(rule, range_bits, tmp_path):
    config = replace(NEAREST, range_rule=rule, range_bits=range_bits)
    plain, inlined = (checked(rcan(), config, tmp_path, inline=inline) for inline in (False, True))
    image = picture(13, 11)
    np.testing.assert_array_equal(run(plain, image, "DISABLE_ALL"), run(inlined, image, "DISABLE_ALL"))


def test_the_same_model_gives_the_same_bytes(tmp_path):
    first, second = (quantized(edsr(), NEAREST, tmp_path).to_bytes() for _ in range(2))
    assert first == second


def test_saving_writes_the_bytes(tmp_path):
    result = quantized(edsr(), NEAREST, tmp_path)
    result.save(tmp_path / "daq.onnx")
    assert (tmp_path / "daq.onnx").read_bytes() == result.to_bytes()


def test_a_model_in_memory_is_left_as_it_is():
    proto = edsr()
    model = ir.from_proto(proto)
    quantize(model, NEAREST)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == ir.to_proto(
        ir.from_proto(proto)
    ).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("bits", "int2", "kind", "opset"),
    [(2, False, "INT4", 21), (3, False, "INT4", 21), (4, False, "INT4", 21), (5, False, "INT8", 21),
     (8, False, "INT8", 21), (2, True, "INT2", 25)],
)  # fmt: skip
def test_weights_are_stored_in_the_fewest_bits_a_type_has(bits, int2, kind, opset, tmp_path):
    result = checked(edsr(), replace(NEAREST, weight_bits=bits, activation_bits=4, int2=int2), tmp_path)
    codes = next(item for item in result.graph.initializer if item.name == "a1.weight.codes")
    assert codes.data_type == onnx.TensorProto.DataType.Value(kind)
    assert {entry.domain: entry.version for entry in result.opset_import}[""] == opset
    assert all({entry.version for entry in function.opset_import} == {opset} for function in result.functions)
    values = onnx.numpy_helper.to_array(codes).astype(int)
    assert values.min() >= -(2 ** (bits - 1))
    assert values.max() <= 2 ** (bits - 1) - 1
    assert not any(item.name == "a1.weight" for item in result.graph.initializer)
    assert np.isfinite(run(result, picture(8, 8))).all()


def test_convolutions_that_read_one_tensor_share_one_block(tmp_path):
    proto = network(
        f"h = Conv{PAD}(x, head_weight) a = Conv{PAD}(h, a_weight) b = Conv(h, b_weight) "
        f"s = Add(a, b) y = Conv{PAD}(s, tail_weight)",
        head_weight=(4, 3, 3, 3), a_weight=(4, 4, 3, 3), b_weight=(4, 4, 1, 1), tail_weight=(3, 4, 3, 3),
    )  # fmt: skip
    blocks = find_blocks(quantized(proto, NEAREST, tmp_path).model)
    assert [len(block.convolutions) for block in blocks if block.bits == 4] == [2]


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_blocks_are_found_as_they_were_planned(inline, dynamic_batch, tmp_path):
    config = replace(NEAREST, range_bits=8, dynamic_batch=dynamic_batch)
    result = quantized(rcan(), config, tmp_path, inline=inline)
    layers = dict(zip(convolutions(result.model.graph), result.layers, strict=True))
    found = {node: block for block in find_blocks(result.model) for node in block.convolutions}
    assert set(found) == {node for node, layer in layers.items() if layer.activation_bits < 32}
    for node, block in found.items():
        assert (block.bits, block.signed) == (layers[node].activation_bits, layers[node].signed)
        assert (block.rule, block.range_bits) == ("deploy", 8)
    assert find_blocks(ir.from_proto(rcan())) == []


def test_weights_that_layers_of_different_bits_share_are_quantized_for_each(tmp_path):
    proto = network(
        f"a = Conv{PAD}(x, w_weight) ra = Relu(a) b = Conv{PAD}(ra, w_weight) rb = Relu(b) y = Conv{PAD}(rb, w_weight)",
        w_weight=(3, 3, 3, 3),
    )  # fmt: skip
    result = checked(proto, NEAREST, tmp_path)
    kinds = sorted(item.data_type for item in result.graph.initializer if ".codes" in item.name)
    assert kinds == sorted([onnx.TensorProto.INT8, onnx.TensorProto.INT4])
    assert np.isfinite(run(result, picture(6, 6))).all()


def test_weights_in_constant_nodes_are_quantized(tmp_path):
    proto = edsr()
    constants = [onnx.helper.make_node("Constant", [], [item.name], value=item) for item in proto.graph.initializer]
    nodes = [*constants, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    result = quantized(proto, NEAREST, tmp_path)
    assert [layer.name for layer in result.layers if not layer.quantized] == []
    data = result.to_bytes()
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    np.testing.assert_array_equal(
        run(data, picture(7, 9), "DISABLE_ALL"), run(checked(edsr(), NEAREST, tmp_path), picture(7, 9), "DISABLE_ALL")
    )


def test_weights_that_are_also_graph_inputs_become_weights_only(tmp_path):
    proto = edsr()
    for item in proto.graph.initializer:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    result = onnx.load_from_string(quantized(proto, NEAREST, tmp_path).to_bytes())
    assert [value.name for value in result.graph.input] == ["x"]
    assert np.isfinite(run(result, picture(6, 6))).all()


@pytest.mark.parametrize("shape", ["1,3,h,w", "2,3,h,w", "?,3,?,?"])
def test_inferred_shapes_inside_do_not_outlive_the_batch_size(shape, tmp_path):
    proto = edsr()
    del proto.graph.input[:], proto.graph.output[:]
    sizes = [int(size) if size.isdigit() else (None if size == "?" else size) for size in shape.split(",")]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, sizes))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * 4))
    result = checked(onnx.shape_inference.infer_shapes(proto), NEAREST, tmp_path)
    assert result.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert run(result, picture(9, 4)).shape == (1, 3, 18, 8)


def test_older_opsets_are_brought_up(tmp_path):
    proto = edsr()
    del proto.opset_import[:]
    proto.opset_import.append(onnx.helper.make_opsetid("", 13))
    assert {entry.version for entry in checked(proto, NEAREST, tmp_path).opset_import} == {21, 1}


def test_metadata_say_how_the_file_was_made_and_nothing_else(tmp_path):
    proto = edsr()
    proto.producer_name, proto.doc_string = "/home/someone/export.py", "made in /home/someone"
    proto.graph.node[0].doc_string = "File /home/someone/model.py, line 3"
    onnx.helper.set_model_props(proto, {"path": "/home/someone", "daq.value_range": "1.0"})
    data = quantized(proto, NEAREST, tmp_path).to_bytes()
    assert b"/home/someone" not in data
    assert str(tmp_path).encode() not in data
    properties = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    assert DaqConfig.from_json(properties["daq.config"]) == NEAREST
    assert [layer["name"] for layer in json.loads(properties["daq.layers"])][:2] == ["head", "a1"]
    assert len(properties["daq.source_sha256"]) == 64
    assert set(json.loads(properties["daq.versions"])) >= {"daq-deploy", "onnx"}
    assert properties["daq.value_range"] == "1.0"


def test_the_value_range_asked_for_wins(tmp_path):
    result = quantized(edsr(), NEAREST, tmp_path, value_range=1.0)
    assert result.model.metadata_props["daq.value_range"] == "1.0"
    assert quantized(edsr(), NEAREST, tmp_path).model.metadata_props["daq.value_range"] == "255.0"


def reasons(proto: onnx.ModelProto, config: DaqConfig, tmp_path: Path) -> dict[str, str]:
    return {layer.name: layer.reason for layer in quantized(proto, config, tmp_path).layers if layer.reason}


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"layers": "body"}, "head", "--layers body"),
        ({"layers": "body"}, "down", "--layers body"),
        ({"include": "^a"}, "b1", "does not match --include ^a"),
        ({"exclude": "1$"}, "a1", "matches --exclude 1$"),
        ({"edge_bits": 32}, "close", "--edge-bits 32"),
        ({"attention_bits": 32}, "raise", "--attention-bits 32"),
        ({}, "down", "reads a 1x1 map"),
        ({}, "raise", "reads a 1x1 map"),
    ],
)
def test_a_layer_that_stays_float_says_why(changes, name, reason, tmp_path):
    assert reason in reasons(rcan(), replace(NEAREST, **changes), tmp_path)[name]


def test_what_cannot_be_quantized_is_left_and_the_rest_is_done(tmp_path):
    proto = network(
        f"""h = Conv{PAD}(x, head_weight) made = Mul(b_weight, two) r = Relu(h) b = Conv{PAD}(r, made)
        s = Relu(b) y = ConvTranspose<strides = [2, 2]>(s, last_weight)""",
        head_weight=(4, 3, 3, 3), b_weight=(4, 4, 3, 3), last_weight=(4, 3, 2, 2), two=np.array(2, np.float32),
    )  # fmt: skip
    result = quantized(proto, NEAREST, tmp_path)
    assert [layer.quantized for layer in result.layers] == [True, False, False]
    assert "computed at run time" in result.layers[1].reason
    assert "transposed" in result.layers[2].reason
    onnx.checker.check_model(onnx.load_from_string(result.to_bytes()), full_check=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(NEAREST, include="nothing"), "no layer is quantized: does not match --include nothing"),
        (replace(NEAREST, exclude=""), "no layer is quantized: matches --exclude"),
    ],
)
def test_nothing_to_quantize_is_an_error_that_says_why(config, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        quantized(edsr(), config, tmp_path)


def test_a_model_in_memory_of_another_opset_is_refused():
    model = ir.from_proto(edsr())
    model.graph.opset_imports[""] = 18
    with pytest.raises(ModelError, match="opset 18; 21 is needed"):
        quantize(model, NEAREST)


def test_the_paper_profile_quantizes_the_body_alone(tmp_path):
    result = quantized(edsr(), DaqConfig.of_profile("paper", 3), tmp_path)
    bits = {layer.role: (layer.weight_bits, layer.activation_bits) for layer in result.layers}
    assert bits == {"head": (32, 32), "body": (3, 3), "closing": (32, 32), "upsampler": (32, 32), "tail": (32, 32)}
    steps = [item for item in result.model.graph.initializers.values() if item.name.endswith("weight.step")]
    assert all(len(set(step.const_value.numpy().tolist())) == 1 for step in steps)


def test_the_default_configuration_quantizes_with_what_ships(tmp_path):
    from daq_deploy import quantize as quantize_file

    onnx.save(edsr(), tmp_path / "float.onnx")
    first, second = (quantize_file(tmp_path / "float.onnx", DaqConfig()).to_bytes() for _ in range(2))
    assert first == second
    onnx.checker.check_model(onnx.load_from_string(first), full_check=True)
    image = picture(20, 24)
    expected = run(edsr(), image)
    peak = np.abs(expected).max() / 255
    assert psnr(run(first, image) / peak, expected / peak) > 20
