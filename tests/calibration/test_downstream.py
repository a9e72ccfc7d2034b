"""The part of a network that a change reaches against the whole network, node by node."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from networks import edsr, esrgan, fsrcnn, grouped, picture, rcan, rlfn, unpadded_attention
from node_by_node import node_by_node

from daq_deploy.calibration.downstream import downstream
from daq_deploy.errors import ModelError
from daq_deploy.passes.graph import convolutions
from daq_deploy.runtime.executor import OrtExecutor

EXECUTE = OrtExecutor(21, threads=1)
NETWORKS = {
    "edsr": edsr, "esrgan": esrgan, "fsrcnn": fsrcnn, "grouped": grouped, "rcan": rcan, "rlfn": rlfn,
    "unpadded_attention": unpadded_attention,
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_is_that_of_the_whole_network(name):
    graph = ir.from_proto(NETWORKS[name]()).graph
    image = picture(20, 18, images=2)
    before = node_by_node(graph, image, EXECUTE)
    generator = np.random.default_rng(0)
    for node in convolutions(graph):
        of = before[node.inputs[0]]
        weights = before[node.inputs[1]]
        replaced = {
            0: of + generator.normal(0, of.std() + 0.1, of.shape).astype(np.float32),
            1: weights * np.float32(1.5),
            2: generator.normal(size=before[node.outputs[0]].shape[1]).astype(np.float32),
        }
        for arrays in ({0: replaced[0]}, {1: replaced[1], 2: replaced[2]}, replaced):
            expected = node_by_node(graph, image, EXECUTE, {node: arrays})[graph.outputs[0]]
            found = downstream(graph, before, EXECUTE, {node: arrays}, graph.outputs[0])
            assert found is not None
            largest = np.abs(expected).max()
            np.testing.assert_allclose(found({node: arrays}), expected, atol=1e-5 * largest, rtol=1e-4)


def test_several_nodes_are_replaced_and_other_arrays_given_later():
    graph = ir.from_proto(edsr()).graph
    image = picture(9, 8)
    before = node_by_node(graph, image, EXECUTE)
    first, *_, last = convolutions(graph)

    def replaced(by: float) -> dict[ir.Node, dict[int, np.ndarray]]:
        return {node: {0: before[node.inputs[0]] * np.float32(by)} for node in (first, last)}

    found = downstream(graph, before, EXECUTE, replaced(1), graph.outputs[0])
    for by in (1, 1.5, 0):
        expected = node_by_node(graph, image, EXECUTE, replaced(by))[graph.outputs[0]]
        np.testing.assert_allclose(found(replaced(by)), expected, atol=1e-3)


def test_a_network_with_shapes_of_one_picture_runs_on_others():
    proto = edsr()
    for index, size in enumerate((1, 3, 6, 5)):
        proto.graph.input[0].type.tensor_type.shape.dim[index].dim_value = size
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto = onnx.shape_inference.infer_shapes(proto)
    assert proto.graph.value_info
    graph = ir.from_proto(proto).graph
    image = picture(9, 8, images=2)
    before = node_by_node(graph, image, EXECUTE)
    first, *_ = convolutions(graph)
    replaced = {first: {0: image * np.float32(1.1)}}
    found = downstream(graph, before, EXECUTE, replaced, graph.outputs[0])
    expected = node_by_node(graph, image, EXECUTE, replaced)[graph.outputs[0]]
    np.testing.assert_allclose(found(replaced), expected, atol=1e-3)


def test_what_is_not_reached_is_none_and_the_network_stays_as_it_is():
    graph = ir.from_proto(edsr()).graph
    before = node_by_node(graph, picture(9, 8), EXECUTE)
    first, *_, last = convolutions(graph)
    kept = [(node, tuple(node.inputs)) for node in graph]
    assert downstream(graph, before, EXECUTE, {last: {0: before[last.inputs[0]]}}, first.outputs[0]) is None
    assert downstream(graph, before, EXECUTE, {}, graph.outputs[0]) is None
    assert downstream(graph, before, EXECUTE, {first: {2: np.zeros(8, np.float32)}}, last.inputs[0]) is not None
    assert [(node, tuple(node.inputs)) for node in graph] == kept


def test_a_part_that_cannot_be_opened_is_refused_in_one_line():
    graph = ir.from_proto(edsr()).graph
    before = node_by_node(graph, picture(9, 8), EXECUTE)
    last = convolutions(graph)[-1]
    with pytest.raises(ModelError, match=r"part of the network cannot be run by itself, as calibration does: [^\n]+$"):
        downstream(graph, before, EXECUTE, {last: {1: np.zeros((3, 8), np.float32)}}, graph.outputs[0])
