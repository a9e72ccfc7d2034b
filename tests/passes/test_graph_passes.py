"""What every pass promises: it says truthfully whether it changed anything, and the graph stays valid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx_ir as ir
import pytest
from networks import PAD, edsr, network, picture, rcan, run

from daq_deploy.config import DaqConfig
from daq_deploy.passes.blocks import find_blocks
from daq_deploy.passes.inline_functions import InlineFunctions
from daq_deploy.passes.plan import plan_layers
from daq_deploy.passes.quantize_activations import QuantizeActivations
from daq_deploy.passes.quantize_weights import QuantizeWeights, storage_bits
from daq_deploy.passes.single_image import SingleImage
from daq_deploy.passes.strip_metadata import StripMetadata
from daq_deploy.quantization import quantize

NEAREST = DaqConfig(weight_rule="nearest")


def valid(model: ir.Model) -> onnx.ModelProto:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


@pytest.mark.parametrize("quantize_pass", [QuantizeActivations, QuantizeWeights])
def test_quantizing_changes_the_graph_and_an_empty_plan_does_not(quantize_pass):
    model = ir.from_proto(edsr())
    assert quantize_pass({}, NEAREST)(model).modified is False
    everything_float = plan_layers(model.graph, replace(NEAREST, include="nothing matches"))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert quantize_pass(everything_float, NEAREST)(model).modified is False
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert quantize_pass(plan_layers(model.graph, NEAREST), NEAREST)(model).modified is True
    valid(model)


def test_weights_alone_at_eight_bits_change_the_output_little():
    model = ir.from_proto(edsr())
    config = replace(NEAREST, weight_bits=8)
    QuantizeWeights(plan_layers(model.graph, config), config)(model)
    proto = valid(model)
    assert not find_blocks(model)
    expected = run(edsr(), picture(9, 9))
    assert np.abs(run(proto, picture(9, 9)) - expected).max() < 0.05 * np.abs(expected).max()


def test_the_block_is_the_one_of_the_file_format():
    model = ir.from_proto(network(f"y = Conv{PAD}(x, w_weight)", w_weight=(3, 3, 3, 3)))
    config = DaqConfig.of_profile("paper", 4)
    config = replace(config, layers="all", edge_bits=4)
    QuantizeActivations(plan_layers(model.graph, config), config)(model)
    proto = valid(model)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds == ["ChannelRange", "Sub", "QuantizeLinear", "Clip", "DequantizeLinear", "Add", "Conv"]
    call, _, quantize, _, dequantize, _, _ = proto.graph.node
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in call.attribute}
    assert (attributes["bits"], attributes["rule"], attributes["signed"], attributes["range_bits"]) == (
        4,
        b"paper",
        1,
        4,
    )
    assert call.domain == "daq"
    assert len(quantize.input) == len(dequantize.input) == 2  # no zero point
    assert {item.name for item in quantize.attribute} == {"axis", "output_dtype"}
    assert [function.name for function in proto.functions] == ["ChannelRange"]


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("levels", ["companded", "even"])
def test_layers_of_three_and_four_bits_have_companded_levels(levels, bits):
    config = replace(NEAREST, activation_bits=bits, levels=levels)
    plan = plan_layers(ir.from_proto(edsr()).graph, config)
    companded = {layer.activation_bits for layer in plan.values() if layer.companded}
    assert companded == ({bits} if levels == "companded" and bits in (3, 4) else set())


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_companded_blocks_are_found_as_functions_and_inlined(dynamic_batch):
    config = replace(NEAREST, dynamic_batch=dynamic_batch)
    found = []
    for inline in (False, True):
        blocks = find_blocks(quantize(ir.from_proto(edsr()), config, inline=inline).model)
        found.append([(block.feature_map.name, block.companded, block.bits) for block in blocks])
        assert all(block.span is not None for block in blocks if block.companded)
    assert found[0] == found[1]
    assert any(companded for _, companded, _ in found[0])


def test_two_layers_of_other_bits_get_a_block_each():
    model = ir.from_proto(
        network(
            f"h = Conv{PAD}(x, head_weight) b = Conv{PAD}(h, body_weight) r = Relu(b) c = Conv{PAD}(r, more_weight) "
            f"t = Conv{PAD}(h, tail_weight) y = Add(t, c)",
            head_weight=(4, 3, 3, 3), body_weight=(4, 4, 3, 3), more_weight=(3, 4, 3, 3), tail_weight=(3, 4, 3, 3),
        )
    )  # fmt: skip
    plan = plan_layers(model.graph, NEAREST)
    QuantizeActivations(plan, NEAREST)(model)
    valid(model)
    readers = {block.bits: len(block.convolutions) for block in find_blocks(model) if block.feature_map.name == "h"}
    assert readers == {4: 1, 8: 1}


def test_inlining_removes_functions_and_branches_once():
    model = ir.from_proto(rcan())
    QuantizeActivations(plan_layers(model.graph, NEAREST), NEAREST)(model)
    expected = run(valid(model), picture(8, 7), "DISABLE_ALL")
    assert InlineFunctions()(model).modified is True
    proto = valid(model)
    assert not proto.functions
    assert "If" not in {node.op_type for node in proto.graph.node}
    np.testing.assert_array_equal(run(proto, picture(8, 7), "DISABLE_ALL"), expected)
    assert InlineFunctions()(model).modified is False


def test_a_branch_whose_condition_is_computed_stays():
    proto = network("y = Relu(x)", yes=np.array(1.0, np.float32))
    graphs = [
        onnx.helper.make_graph([onnx.helper.make_node(kind, ["x"], [kind])], kind, [],
                               [onnx.helper.make_tensor_value_info(kind, 1, None)]) for kind in ("Relu", "Neg")
    ]  # fmt: skip
    del proto.graph.node[:]
    proto.graph.node.extend(
        [
            onnx.helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            onnx.helper.make_node("Greater", ["largest", "yes"], ["condition"]),
            onnx.helper.make_node("If", ["condition"], ["y"], then_branch=graphs[0], else_branch=graphs[1]),
        ]
    )
    model = ir.from_proto(proto)
    assert InlineFunctions()(model).modified is False
    assert [node.op_type for node in model.graph] == ["ReduceMax", "Greater", "If"]


def test_the_batch_size_becomes_one_once():
    model = ir.from_proto(edsr())
    assert SingleImage()(model).modified is True
    proto = valid(model)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param == "h"
    assert SingleImage()(model).modified is False


def test_what_is_not_needed_to_run_is_removed_once():
    proto = edsr()
    onnx.helper.set_model_props(proto, {"daq.architecture": "{}", "author": "someone"})
    proto.doc_string = proto.graph.doc_string = proto.graph.node[0].doc_string = "/home/someone"
    model = ir.from_proto(proto)
    assert StripMetadata()(model).modified is True
    cleaned = valid(model)
    assert b"someone" not in cleaned.SerializeToString()
    assert [entry.key for entry in cleaned.metadata_props] == ["daq.architecture"]
    assert StripMetadata()(model).modified is False


@pytest.mark.parametrize(
    ("bits", "int2", "stored"),
    [(2, True, 2), (2, False, 4), (3, True, 4), (4, True, 4), (5, False, 8), (8, True, 8)],
)
def test_storage_bits(bits, int2, stored):
    assert storage_bits(bits, int2) == stored
