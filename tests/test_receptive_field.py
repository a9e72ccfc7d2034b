"""The receptive field that the graph says, against what the network does when one pixel changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from daq_deploy.receptive_field import ReceptiveField, receptive_field
from tests.networks import NETWORKS, PAD, network, picture, run


def field_of(model: onnx.ModelProto) -> ReceptiveField:
    return receptive_field(ir.from_proto(model).graph)


@pytest.mark.parametrize("name", ["edsr", "fsrcnn", "esrgan", "rlfn"])
def test_a_pixel_reaches_as_far_as_it_says_and_hardly_less(name):
    model = NETWORKS[name]()
    radius = field_of(model).radius
    assert radius is not None
    image = picture(96, 96)
    changed = image.copy()
    changed[:, :, 48, 48] += 1000
    rows, columns = np.nonzero(np.abs(run(model, image) - run(model, changed)).max(axis=(0, 1)) > 0)
    scale = run(model, image).shape[2] // 96
    reach = max(48 - rows.min() // scale, rows.max() // scale - 48, columns.max() // scale - 48)
    assert reach <= radius
    # Strides and interpolation make the bound wider than what one pixel shows.
    assert reach >= (radius / 2 if name == "rlfn" else radius - 2)


def test_strides_are_found():
    assert field_of(NETWORKS["rlfn"]()).stride == 4
    assert field_of(NETWORKS["edsr"]()).stride == 1


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ("p = GlobalAveragePool(c) y = Mul(c, p)", "GlobalAveragePool"),
        ("y = Einsum<equation = \"nchw->nchw\">(c)", "Einsum"),
    ],
)  # fmt: skip
def test_what_has_no_bound_is_named(body, node):
    model = network(f"c = Conv{PAD}(x, head_weight) {body}", head_weight=(3, 3, 3, 3))
    field = field_of(model)
    assert field.radius is None
    assert field.unbounded_by.startswith(node)


@pytest.mark.parametrize("from_left", [False, True])
def test_runs_of_fed_back_errors_are_counted(from_left):
    text = f"""
    <ir_version: 10, opset_import: ["" : 21, "daq" : 1]>
    fed_back (float[1, 3, height, width] x, float[3] step, float[1, 3, 1, 1] span) => (float[1, 3, up, across] y)
    {{
        moved = daq.{"Run" if from_left else ""}ErrorFeedback3(x, step, span)
        y = Resize<mode = "nearest">(moved, , scales)
    }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1, 1, 2, 2]), "scales"))
    field = field_of(model)
    assert field == ReceptiveField(8 if from_left else 1, 8 if from_left else 1, "")


def test_runs_in_what_is_twice_as_large_begin_twice_as_often():
    text = """
    <ir_version: 10, opset_import: ["" : 21, "daq" : 1]>
    fed_back (float[1, 12, height, width] x, float[3] step, float[1, 3, 1, 1] span) => (float[1, 3, up, across] y)
    {
        larger = DepthToSpace<blocksize = 2>(x)
        y = daq.CompandedRunErrorFeedback3(larger, step, span)
    }"""
    assert field_of(onnx.parser.parse_model(text)) == ReceptiveField(4, 4, "")
