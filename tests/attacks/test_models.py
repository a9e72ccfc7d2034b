"""ONNX files that nobody vouches for: one line, exit code 2, nothing written, nothing outside the folder read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from networks import edsr, network

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ModelError
from daq_deploy.inspection import inspect_file
from daq_deploy.quantization import quantize

NEAREST = DaqConfig(weight_rule="nearest")
SECRET = b"the content of a file outside the folder"


def with_external_weight(location: str) -> onnx.ModelProto:
    """The first weight lies at `location`."""
    proto = edsr()
    weight = proto.graph.initializer[0]
    length = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    return proto


def with_weight(value: float) -> onnx.ModelProto:
    proto = edsr()
    array = onnx.numpy_helper.to_array(proto.graph.initializer[2]).copy()
    array.flat[5] = value
    proto.graph.initializer[2].CopyFrom(onnx.numpy_helper.from_array(array, proto.graph.initializer[2].name))
    return proto


def refused(path: Path, message: str) -> None:
    before = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
    with pytest.raises(ModelError, match=message) as caught:
        quantize(path, NEAREST).save(path.parent / "out.onnx")
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    assert SECRET.decode() not in text
    if path.parent.is_dir():
        assert sorted(os.listdir(path.parent)) == before


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.onnx", "no such file")


def test_a_folder(tmp_path):
    refused(tmp_path, "no such file")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 4096, b"GIF89a", b"\x80\x04\x95 pickle", os.urandom(10_000), b"<html>", b"\xff" * 100]
)
def test_garbage(data, tmp_path):
    path = tmp_path / "garbage.onnx"
    path.write_bytes(data)
    refused(path, "cannot be read as ONNX|is not a valid ONNX model")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file(share, tmp_path):
    data = edsr().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, "cannot be read as ONNX|is not a valid ONNX model")


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_give_anything_but_an_error_or_a_file(seed, tmp_path):
    data = bytearray(edsr().SerializeToString())
    generator = np.random.default_rng(seed)
    for place in generator.integers(0, 2000, 3):
        data[place] = generator.integers(256)
    path = tmp_path / "flipped.onnx"
    path.write_bytes(bytes(data))
    try:
        quantize(path, NEAREST)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "location", ["../secret.bin", "../../../../../../etc/passwd", "/etc/passwd", "folder/../../secret.bin", "", "."]
)
def test_external_data_outside_the_folder(location, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.bin").write_bytes(SECRET * 100)
    path = tmp_path / "inner" / "model.onnx"
    path.write_bytes(with_external_weight(location).SerializeToString())
    refused(path, "model.onnx")


def test_external_data_behind_a_symbolic_link(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.bin").write_bytes(SECRET * 100)
    (tmp_path / "inner" / "weights.bin").symlink_to(tmp_path / "secret.bin")
    path = tmp_path / "inner" / "model.onnx"
    path.write_bytes(with_external_weight("weights.bin").SerializeToString())
    refused(path, "model.onnx")


def test_external_data_behind_a_hard_link(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.bin").write_bytes(SECRET * 100)
    os.link(tmp_path / "secret.bin", tmp_path / "inner" / "weights.bin")
    path = tmp_path / "inner" / "model.onnx"
    path.write_bytes(with_external_weight("weights.bin").SerializeToString())
    refused(path, "model.onnx")


def test_external_data_that_is_missing_or_too_short(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(with_external_weight("weights.bin").SerializeToString())
    refused(path, "model.onnx")
    (tmp_path / "weights.bin").write_bytes(b"short")
    refused(path, "model.onnx")


def test_external_data_beside_the_file_are_read(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(edsr(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    plain = tmp_path / "plain.onnx"
    onnx.save(edsr(), plain)
    external, inside = (quantize(item, NEAREST).model for item in (path, plain))
    for name, value in inside.graph.initializers.items():
        np.testing.assert_array_equal(external.graph.initializers[name].const_value.numpy(), value.const_value.numpy())


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_weights_that_are_no_numbers(value, kind, tmp_path):
    path = tmp_path / "broken.onnx"
    onnx.save(with_weight(value), path)
    refused(path, f"a1.weight has {kind} values")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_constant_nodes_that_are_no_numbers(value, tmp_path):
    proto = with_weight(value)
    item = proto.graph.initializer[2]
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], [item.name], value=item))
    del proto.graph.initializer[2]
    path = tmp_path / "broken.onnx"
    onnx.save(proto, path)
    refused(path, "a1.weight has")


def test_no_convolution(tmp_path):
    path = tmp_path / "none.onnx"
    onnx.save(network("y = Relu(x)"), path)
    refused(path, "has no Conv")


def test_only_convolutions_inside_a_branch(tmp_path):
    proto = network("y = Relu(x)")
    branch = onnx.helper.make_graph([onnx.helper.make_node("Conv", ["x", "w"], ["b"])], "branch", [],
                                    [onnx.helper.make_tensor_value_info("b", 1, None)])  # fmt: skip
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "c"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w"))
    path = tmp_path / "branch.onnx"
    onnx.save(proto, path)
    refused(path, "has no Conv in its main graph")


def test_a_quantized_model(tmp_path):
    proto = network("q = QuantizeLinear(x, s) d = DequantizeLinear(q, s) y = Conv(d, w_weight)",
                    s=np.array(1, np.float32), w_weight=(3, 3, 1, 1))  # fmt: skip
    path = tmp_path / "qdq.onnx"
    onnx.save(proto, path)
    refused(path, "is quantized already")


@pytest.mark.parametrize("inline", [False, True])
def test_a_daq_file(inline, tmp_path):
    onnx.save(edsr(), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", NEAREST, inline=inline).save(tmp_path / "daq.onnx")
    refused(tmp_path / "daq.onnx", "is a DAQ file already")


def test_half_precision_weights(tmp_path):
    proto = network("y = Conv(x, w_weight)", w_weight=(3, 3, 1, 1))
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float16), "w.weight"))
    path = tmp_path / "half.onnx"
    onnx.save(proto, path)
    refused(path, "weights are float16, only float32 is quantized")


def test_an_opset_from_the_future(tmp_path):
    proto = edsr()
    proto.opset_import[0].version = 24
    path = tmp_path / "future.onnx"
    onnx.save(proto, path)
    refused(path, "opset 24; DAQ files have 21")


def test_one_dimensional_convolutions(tmp_path):
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]> g (float[n,2,l] x) => (float[n,2,m] y)
        <float[2,2,1] w = {1.0, 2.0, 3.0, 4.0}> { y = Conv(x, w) }"""
    )
    path = tmp_path / "audio.onnx"
    onnx.save(proto, path)
    refused(path, "1-D convolution")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("daq.config", "{"), ("daq.config", "[]"), ("daq.config", '{"version": 99}'),
        ("daq.config", '{"version": 1, "x": 2}'),
        ("daq.layers", "{"), ("daq.layers", "[]"), ("daq.layers", '[{"name": 1}]'), ("daq.layers", "7"),
        ("daq.versions", "[1]"), ("daq.value_range", "wide"),
    ],
)  # fmt: skip
def test_damaged_metadata(key, value, tmp_path):
    onnx.save(edsr(), tmp_path / "float.onnx")
    proto = onnx.load_from_string(quantize(tmp_path / "float.onnx", NEAREST).to_bytes())
    properties = {entry.key: entry.value for entry in proto.metadata_props} | {key: value}
    onnx.helper.set_model_props(proto, properties)
    path = tmp_path / "daq.onnx"
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"daq\.onnx") as caught:
        inspect_file(path)
    assert "\n" not in str(caught.value)


def test_a_chain_of_additions_of_a_value_to_itself_is_read_in_no_time(tmp_path):
    chain = " ".join(f"v{number + 1} = Add(v{number}, v{number})" for number in range(200))
    path = tmp_path / "chain.onnx"
    onnx.save(network(f"v0 = Relu(x) {chain} y = Conv(v200, w_weight)", w_weight=(3, 3, 1, 1)), path)
    assert quantize(path, NEAREST).layers[0].signed is False


def test_a_very_deep_graph_is_read(tmp_path):
    chain = " ".join(f"v{number + 1} = Identity(v{number})" for number in range(3000))
    path = tmp_path / "deep.onnx"
    onnx.save(network(f"v0 = Relu(x) {chain} y = Conv(v3000, w_weight)", w_weight=(3, 3, 1, 1)), path)
    assert quantize(path, NEAREST).layers[0].signed is False
