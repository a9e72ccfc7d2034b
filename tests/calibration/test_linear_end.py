from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from networks import PAD, network
from node_by_node import node_by_node

from daq_deploy.calibration import OutputSensitivity
from daq_deploy.calibration.linear_end import LinearEnd, linear_end
from daq_deploy.passes.graph import convolutions
from daq_deploy.runtime.executor import OrtExecutor

EXECUTE = OrtExecutor(21, threads=1)
WEIGHTS = {
    "a_weight": (6, 3, 3, 3), "b_weight": (6, 6, 3, 3), "up_weight": (24, 6, 3, 3), "up_bias": (24,),
    "y_weight": (3, 6, 3, 3),
}  # fmt: skip
BODY = f"a = Conv{PAD}(x, a_weight) r = Relu(a) b = Conv{PAD}(r, b_weight) s = Add(b, a)"
END = f'up = Conv{PAD}(s, up_weight, up_bias) d = DepthToSpace<blocksize = 2, mode = "MODE">(up) y = Conv{PAD}(d, y_weight)'


def sensitivity_of(model: onnx.ModelProto) -> tuple[OutputSensitivity, LinearEnd | None]:
    graph = ir.from_proto(model).graph
    sensitivity = OutputSensitivity(
        graph, np.random.default_rng(0).normal(size=(2, 3, 15, 17)).astype(np.float32), EXECUTE
    )
    return sensitivity, linear_end(graph, sensitivity.values, EXECUTE)


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
def test_one_convolution_tells_what_the_end_makes_of_an_error(mode):
    sensitivity, end = sensitivity_of(network(f"{BODY} {END.replace('MODE', mode)}", **WEIGHTS))
    assert end is not None
    assert [node.op_type for node in end.nodes] == ["Conv", "DepthToSpace", "Conv"]
    assert end.kernel.shape == (12, 6, 5, 5)
    before = sensitivity.value(end.start)
    error = np.zeros_like(before)
    error[:, :, 3:-3, 3:-3] = np.random.default_rng(1).normal(size=error[:, :, 3:-3, 3:-3].shape)
    values = dict(sensitivity.values) | {end.start: before + error}
    for node in end.nodes:
        values.update(zip(node.outputs, EXECUTE(node, [values[value] for value in node.inputs]), strict=True))
    output = sensitivity.graph.outputs[0]
    exact = np.square(values[output].astype(np.float64) - sensitivity.value(output)).mean()
    assert end.squared_error(error) == pytest.approx(exact, rel=1e-4)


def test_errors_before_the_end_and_in_it_are_those_of_the_output():
    sensitivity, end = sensitivity_of(network(f"{BODY} {END.replace('MODE', 'CRD')}", **WEIGHTS))
    assert end is not None
    first, second, up, last = convolutions(sensitivity.graph)
    for node in (first, second, up, last):
        changed = sensitivity.value(node.inputs[0]) * np.float32(1.1)
        image = sensitivity.value(sensitivity.graph.inputs[0])
        values = node_by_node(sensitivity.graph, image, EXECUTE, {node: {0: changed}})
        output = sensitivity.graph.outputs[0]
        exact = np.square(values[output].astype(np.float64) - sensitivity.value(output)).mean()
        # The border of so small a picture is a third of it.
        assert sensitivity.output_error({node: {0: changed}}) == pytest.approx(
            exact, rel=1e-5 if node in end.nodes else 0.25
        )


@pytest.mark.parametrize(
    "end",
    [
        f"y = Conv{PAD}(s, y_weight)",
        f"c = Conv{PAD}(s, b_weight) r2 = Relu(c) y = Conv{PAD}(r2, y_weight)",
        f"c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(s, b_weight) y = Conv{PAD}(c, y_weight)",
        f"c = Conv<pads = [7, 7, 7, 7], dilations = [7, 7]>(s, b_weight) y = Conv{PAD}(c, y_weight)",
        f"c = Conv(s, b_weight) y = Conv{PAD}(c, y_weight)",
    ],
    ids=["one convolution", "activation", "stride", "far", "smaller"],
)
def test_other_ends_are_none(end):
    sensitivity, found = sensitivity_of(network(f"{BODY} {end}", **WEIGHTS))
    assert found is None
    first = convolutions(sensitivity.graph)[0]
    unchanged = sensitivity.value(first.inputs[0])
    assert sensitivity.output_error({first: {0: unchanged}}) == pytest.approx(0, abs=1e-9)
