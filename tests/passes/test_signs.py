from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import network, picture, run

from daq_deploy.passes.signs import is_non_negative

CONSTANTS = {
    "zero": np.array(0, np.float32),
    "one": np.array(1, np.float32),
    "minus": np.array(-0.5, np.float32),
    "big": np.array(1e3, np.float32),
    "half": np.array([1, 1, 2, 2], np.float32),
    "edge": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "sides": np.array([2, 3]),
    "slope": np.full((3, 1, 1), 0.1, np.float32),
}
NON_NEGATIVE = {
    "Relu": "v = Relu(s)",
    "Sigmoid": "v = Sigmoid(s)",
    "clipped from zero": "v = Clip(s, zero, big)",
    "sum of Relus": "r = Relu(s) t = Abs(s) v = Add(r, t)",
    "product with a positive constant": "r = Relu(s) v = Mul(r, one)",
    "concatenation": "r = Relu(s) t = Sigmoid(s) v = Concat<axis = 1>(r, t)",
    "max pool": "r = Relu(s) v = MaxPool<kernel_shape = [2, 2]>(r)",
    "padded with zeros": "r = Relu(s) v = Pad(r, edge)",
    "reflected": 'r = Relu(s) v = Pad<mode = "reflect">(r, edge)',
    "resized to the nearest": 'r = Relu(s) v = Resize<mode = "nearest">(r, , half)',
    "resized linearly": 'r = Relu(s) v = Resize<mode = "linear">(r, , half)',
    "mean": "r = Relu(s) v = ReduceMean(r, sides)",
}
SIGNED = {
    "a convolution": "v = Identity(s)",
    "leaky": "v = LeakyRelu(s)",
    "PReLU": "v = PRelu(s, slope)",
    "clipped below zero": "v = Clip(s, minus, big)",
    "clipped above only": "v = Clip(s, , big)",
    "difference of Relus": "r = Relu(s) t = Abs(s) v = Sub(r, t)",
    "residual": "r = Relu(s) v = Add(r, s)",
    "product with a negative constant": "r = Relu(s) v = Mul(r, minus)",
    "padded with a negative value": "r = Relu(s) v = Pad(r, edge, minus)",
    "resized by cubic": 'r = Relu(s) v = Resize<mode = "cubic">(r, , half)',
    "concatenation with a signed map": "r = Relu(s) v = Concat<axis = 1>(r, s)",
}


def value_of(body: str) -> ir.Value:
    model = ir.from_proto(network(f"s = Conv(x, s_weight) {body} y = Identity(v)", s_weight=(3, 3, 1, 1), **CONSTANTS))
    return next(node.inputs[0] for node in model.graph if node.outputs[0].name == "y")


@pytest.mark.parametrize("case", NON_NEGATIVE)
def test_what_the_graph_proves_is_non_negative(case):
    assert is_non_negative(value_of(NON_NEGATIVE[case]))


@pytest.mark.parametrize("case", SIGNED)
def test_what_can_be_negative_is_signed(case):
    assert not is_non_negative(value_of(SIGNED[case]))


def test_the_picture_itself_counts_as_signed():
    assert not is_non_negative(ir.from_proto(network("y = Relu(x)")).graph.inputs[0])


STEPS = [
    "Relu({0})", "Sigmoid({0})", "Add({0}, {1})", "Mul({0}, {1})", "Sub({0}, {1})", "LeakyRelu({0})", "Abs({0})",
    "Clip({0}, zero)", "Max({0}, {1})", "Mul({0}, minus)", "Identity({0})", "Neg({0})",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_called_non_negative_never_is_negative(steps):
    names, lines = ["s"], []
    for number, (step, first, second) in enumerate(steps):
        operands = (names[first % len(names)], names[second % len(names)])
        lines.append(f"v{number} = {step.format(*operands)}")
        names.append(f"v{number}")
    body = f"s = Conv(x, s_weight) {' '.join(lines)} y = Identity({names[-1]})"
    proto = network(body, s_weight=(3, 3, 1, 1), **CONSTANTS)
    if is_non_negative(ir.from_proto(proto).graph.outputs[0]):
        assert (run(proto, picture(6, 7) - 128) >= 0).all()


def test_a_value_reached_on_many_paths_is_looked_at_once():
    body = (
        "v0 = Relu(x) "
        + " ".join(f"v{number + 1} = Add(v{number}, v{number})" for number in range(60))
        + " v = Identity(v60)"
    )
    model = ir.from_proto(network(f"{body} y = Identity(v)"))
    assert is_non_negative(model.graph.outputs[0])
