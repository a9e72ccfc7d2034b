from __future__ import annotations

import numpy as np
import onnx.checker
import onnx_ir as ir
import pytest
from networks import PAD, network, picture, run

from daq_deploy.passes.fold_batch_norm import FoldBatchNorm
from daq_deploy.passes.fold_mean_shift import FoldMeanShift
from daq_deploy.passes.fold_pointwise import FoldPointwise
from daq_deploy.passes.fold_residual_scale import FoldResidualScale

EYE = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
COLOUR = np.array([-114.4, -111.5, 103.0], np.float32)
NORM = {
    "gamma": np.array([0.5, -1, 2, 0], np.float32), "beta": np.array([1, 2, 3, 4], np.float32),
    "mean": np.array([0.1, -5, 30, 2], np.float32), "variance": np.array([1, 4, 0.01, 0], np.float32),
}  # fmt: skip
BATCH_NORM = (
    f"c = Conv{PAD}(x, c_weight, c_bias) y = BatchNormalization<epsilon = 0.001>(c, gamma, beta, mean, variance)"
)


def applied(fold_pass, proto):
    """Run a pass on a copy; checks what every pass must keep."""
    model = ir.from_proto(proto)
    modified = fold_pass(model).modified
    result = ir.to_proto(model)
    onnx.checker.check_model(result, full_check=True)
    assert [value.name for value in result.graph.input] == [value.name for value in proto.graph.input]
    assert [value.name for value in result.graph.output] == [value.name for value in proto.graph.output]
    assert fold_pass(model).modified is False
    found, expected = run(result, picture(9, 7)), run(proto, picture(9, 7))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    return result, modified


def operators(proto):
    return [node.op_type for node in proto.graph.node]


FOLDS = {
    "batch norm": (FoldBatchNorm(), BATCH_NORM, {"c_weight": (4, 3, 3, 3), "c_bias": (4,), **NORM}, ["Conv"]),
    "batch norm without bias": (
        FoldBatchNorm(), BATCH_NORM.replace(", c_bias", ""), {"c_weight": (4, 3, 3, 3), **NORM}, ["Conv"],
    ),
    "batch norm before Relu": (
        FoldBatchNorm(), BATCH_NORM.replace("y =", "n =") + " y = Relu(n)",
        {"c_weight": (4, 3, 3, 3), "c_bias": (4,), **NORM}, ["Conv", "Relu"],
    ),
    "mean shift after a convolution": (
        FoldMeanShift(), f"c = Conv{PAD}(x, c_weight) y = Conv(c, e_weight, e_bias)",
        {"c_weight": (3, 3, 3, 3), "e_weight": EYE, "e_bias": COLOUR}, ["Conv"],
    ),
    "mean shift of the picture": (
        FoldMeanShift(), f"s = Conv(x, e_weight, e_bias) y = Conv{PAD}(s, c_weight)",
        {"c_weight": (4, 3, 3, 3), "e_weight": EYE, "e_bias": COLOUR}, ["Add", "Conv"],
    ),
    "mean shift of the output": (
        FoldMeanShift(),
        f'c = Conv{PAD}(x, c_weight) d = DepthToSpace<blocksize = 2, mode = "CRD">(c) y = Conv(d, e_weight, e_bias)',
        {"c_weight": (12, 3, 3, 3), "e_weight": EYE, "e_bias": COLOUR}, ["Conv", "DepthToSpace", "Add"],
    ),
    "scale": (
        FoldResidualScale(), f"c = Conv{PAD}(x, c_weight, c_bias) y = Mul(c, s)",
        {"c_weight": (4, 3, 3, 3), "c_bias": (4,), "s": np.array(0.1, np.float32)}, ["Conv"],
    ),
    "scale first": (
        FoldResidualScale(), f"c = Conv{PAD}(x, c_weight) m = Mul(s, c) y = Add(m, c2)",
        {"c_weight": (4, 3, 3, 3), "s": np.array([0.1], np.float32), "c2": np.array(2, np.float32)}, ["Conv", "Add"],
    ),
    "scale a channel": (
        FoldResidualScale(), f"c = Conv{PAD}(x, c_weight, c_bias) y = Mul(c, s)",
        {"c_weight": (4, 3, 3, 3), "c_bias": (4,), "s": np.array([[[1]], [[-2]], [[0]], [[0.1]]], np.float32)}, ["Conv"],
    ),
    "1x1 after the head, which is read twice": (
        FoldPointwise(), f"c = Conv{PAD}(x, c_weight, c_bias) p = Conv(c, p_weight, p_bias) y = Concat<axis = 1>(p, c)",
        {"c_weight": (40, 3, 3, 3), "c_bias": (40,), "p_weight": (5, 40, 1, 1), "p_bias": (5,)}, ["Conv", "Conv", "Concat"],
    ),
    "1x1 after a strided convolution, both without bias": (
        FoldPointwise(), "c = Conv<pads = [1, 1, 0, 0], strides = [2, 2]>(x, c_weight) y = Conv(c, p_weight)",
        {"c_weight": (8, 3, 3, 3), "p_weight": (4, 8, 1, 1)}, ["Conv"],
    ),
    "a chain": (
        FoldPointwise(),
        f"c = Conv{PAD}(x, c_weight) p = Conv(c, p_weight, p_bias) y = Conv<kernel_shape = [1, 1]>(p, q_weight, q_bias)",
        {"c_weight": (8, 3, 3, 3), "p_weight": (16, 8, 1, 1), "p_bias": (16,), "q_weight": (8, 16, 1, 1), "q_bias": (8,)},
        ["Conv"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDS)
def test_what_can_be_folded_is_folded_and_computes_the_same(case):
    fold_pass, body, shapes, expected = FOLDS[case]
    result, modified = applied(fold_pass, network(body, **shapes))
    assert modified
    assert operators(result) == expected


LEFT = {
    "batch norm, output read twice": (FoldBatchNorm(), BATCH_NORM.replace("y =", "n =") + " y = Add(n, c)", NORM),
    "batch norm of a computed bias": (
        FoldBatchNorm(),
        "m = ReduceMean<keepdims = 0>(x) u = Unsqueeze(m, zero) b = Expand(u, four) "
        + BATCH_NORM.replace("c_bias", "b"),
        {**NORM, "zero": np.array([0]), "four": np.array([4])},
    ),
    "mean shift after a computed bias": (
        FoldMeanShift(),
        f"m = ReduceMean<keepdims = 0>(x) u = Unsqueeze(m, zero) b = Expand(u, four) c = Conv{PAD}(x, c_weight, b) "
        "y = Conv<strides = [2, 2]>(c, e_weight, e_bias)",
        {"zero": np.array([0]), "four": np.array([4]), "e_weight": np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1),
         "e_bias": (4,)},
    ),
    "not an identity": (
        FoldMeanShift(), "y = Conv(x, e_weight, e_bias)",
        {"e_weight": EYE * np.float32(1.01), "e_bias": COLOUR},
    ),
    "a padded identity": (FoldMeanShift(), f"y = Conv{PAD}(x, e_weight, e_bias)", {"e_weight": EYE, "e_bias": COLOUR}),
    "an identity without bias": (FoldMeanShift(), "y = Conv(x, e_weight)", {"e_weight": EYE}),
    "scale by a tensor": (FoldResidualScale(), f"c = Conv{PAD}(x, c_weight) s = Sigmoid(c) y = Mul(c, s)", {}),
    "square": (FoldResidualScale(), f"c = Conv{PAD}(x, c_weight) y = Mul(c, c)", {}),
    "scale along a row": (FoldResidualScale(), f"c = Conv{PAD}(x, c_weight) y = Mul(c, s)", {"s": (7,)}),
    "scale, output read twice": (
        FoldResidualScale(), f"c = Conv{PAD}(x, c_weight) m = Mul(c, s) y = Add(m, c)", {"s": np.array(0.1, np.float32)},
    ),
    "1x1 that is cheaper than the two as one": (
        FoldPointwise(), f"c = Conv{PAD}(x, c_weight) p = Conv(c, p_weight) y = Concat<axis = 1>(p, c)",
        {"c_weight": (8, 3, 3, 3), "p_weight": (8, 8, 1, 1)},
    ),
    "1x1 that costs the same as the two as one": (
        FoldPointwise(), "c = Conv(x, c_weight) p = Conv(c, p_weight) y = Concat<axis = 1>(p, c)",
        {"c_weight": (3, 3, 1, 1), "p_weight": (4, 3, 1, 1)},
    ),
    "1x1 after groups": (
        FoldPointwise(), f"c = Conv{PAD[:-1]}, group = 3>(x, c_weight) y = Conv(c, p_weight)",
        {"c_weight": (48, 1, 3, 3), "p_weight": (4, 48, 1, 1)},
    ),
    "1x1 with padding": (
        FoldPointwise(), f"c = Conv{PAD}(x, c_weight) y = Conv{PAD}(c, p_weight, p_bias)",
        {"c_weight": (8, 3, 3, 3), "p_weight": (4, 8, 1, 1), "p_bias": (4,)},
    ),
    "1x1 behind a Relu": (
        FoldPointwise(), f"c = Conv{PAD}(x, c_weight) r = Relu(c) y = Conv(r, p_weight)",
        {"c_weight": (8, 3, 3, 3), "p_weight": (4, 8, 1, 1)},
    ),
    "3x3 after a convolution": (
        FoldPointwise(), f"c = Conv{PAD}(x, c_weight) y = Conv{PAD}(c, p_weight)",
        {"c_weight": (8, 3, 3, 3), "p_weight": (4, 8, 3, 3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_folded_exactly_is_left_alone(case):
    fold_pass, body, shapes = LEFT[case]
    if "c_weight" in body:
        shapes = {"c_weight": (4, 3, 3, 3), **shapes}
    if "c_bias" in body:
        shapes = {"c_bias": (4,), **shapes}
    proto = network(body, **shapes)
    result, modified = applied(fold_pass, proto)
    assert not modified
    assert operators(result) == operators(proto)


def test_a_mean_shift_after_a_computed_bias_becomes_an_addition():
    result, modified = applied(
        FoldMeanShift(),
        network(
            f"m = ReduceMean<keepdims = 0>(x) u = Unsqueeze(m, zero) b = Expand(u, three) c = Conv{PAD}(x, c_weight, b) "
            "y = Conv(c, e_weight, e_bias)",
            zero=np.array([0]), three=np.array([3]), c_weight=(3, 3, 3, 3), e_weight=EYE, e_bias=COLOUR,
        ),
    )  # fmt: skip
    assert modified
    assert operators(result)[-2:] == ["Conv", "Add"]


@pytest.mark.parametrize(
    ("fold_pass", "after", "shapes", "modified"),
    [
        (FoldMeanShift(), "y = Conv(c, e_weight, e_bias)", {"e_weight": EYE, "e_bias": COLOUR}, True),
        (FoldResidualScale(), "y = Mul(c, s)", {"s": np.array(0.5, np.float32)}, False),
        (FoldPointwise(), "y = Conv(c, p_weight)", {"c_weight": (40, 3, 3, 3), "p_weight": (5, 40, 1, 1)}, True),
    ],
)
def test_a_convolution_whose_output_is_a_graph_output_keeps_it(fold_pass, after, shapes, modified):
    shapes = {"c_weight": (3, 3, 3, 3), **shapes}
    proto = network(f"c = Conv{PAD}(x, c_weight) {after}", **shapes)
    channels = shapes["c_weight"][0]
    proto.graph.output.append(
        onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["n", channels, "h", "w"])
    )
    model = ir.from_proto(proto)
    assert fold_pass(model).modified == modified
    result = ir.to_proto(model)
    assert [value.name for value in result.graph.output] == ["y", "c"]
    for index in (0, 1):
        pair = []
        for graph in (proto, result):
            one = onnx.ModelProto.FromString(graph.SerializeToString())
            kept = one.graph.output[index]
            del one.graph.output[:]
            one.graph.output.append(kept)
            pair.append(run(one, picture(6, 5)))
        np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-3)


def test_weights_that_two_convolutions_share_are_scaled_for_one_only():
    proto = network(
        f"a = Conv{PAD}(x, c_weight) b = Conv{PAD}(a, c_weight) m = Mul(b, s) y = Add(m, a)",
        c_weight=(3, 3, 3, 3), s=np.array(0.25, np.float32),
    )  # fmt: skip
    result, modified = applied(FoldResidualScale(), proto)
    assert modified
    assert operators(result) == ["Conv", "Conv", "Add"]


def test_both_folds_follow_each_other():
    body = BATCH_NORM.replace("y =", "n =") + " y = Mul(n, s)"
    proto = network(body, c_weight=(4, 3, 3, 3), c_bias=(4,), s=np.array(0.1, np.float32), **NORM)
    result, _ = applied(FoldBatchNorm(), proto)
    result, modified = applied(FoldResidualScale(), result)
    assert modified
    assert operators(result) == ["Conv"]
