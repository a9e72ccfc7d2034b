from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from daq_deploy import quantize
from daq_deploy.config import DaqConfig
from daq_deploy.errors import DaqError, ImageError, ModelError, OptionError
from daq_deploy.runtime import Session
from daq_deploy.runtime.model_source import add_outputs
from daq_deploy.runtime.synthetic import smooth_image


def doubled(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return image.repeat(2, axis=2).repeat(2, axis=3)


def model_of(
    body: str, image: str = "float[n,3,h,w] image", larger: str = "float[a,b,c,d] larger", constants: str = ""
) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        g ({image}) => ({larger}) <{constants}> {{ {body} }}"""
    )


def assert_one_line(error: pytest.ExceptionInfo[DaqError]) -> None:
    assert "\n" not in str(error.value)
    assert "[ONNXRuntimeError]" not in str(error.value)


def test_runs_a_file_bytes_and_a_proto_alike(nearest_x2_file, nearest_x2):
    image = smooth_image(5, 7)
    for model in (nearest_x2_file, str(nearest_x2_file), nearest_x2_file.read_bytes(), nearest_x2()):
        with Session(model, threads=1) as session:
            output = session.run(image)
            assert output.dtype == np.float32
            np.testing.assert_array_equal(output, doubled(image))


@pytest.mark.parametrize("optimization", ["all", "extended", "basic", "disabled"])
def test_every_optimization_level_runs(nearest_x2, optimization):
    session = Session(nearest_x2(), optimization=optimization)
    assert session.describe().optimization == optimization
    np.testing.assert_array_equal(session.run(smooth_image(3, 3)), doubled(smooth_image(3, 3)))


def test_an_array_of_any_memory_layout_is_accepted(nearest_x2):
    image = smooth_image(6, 8)[:, :, ::2, ::-1]
    np.testing.assert_array_equal(Session(nearest_x2()).run(image), doubled(image))


def test_a_batch_runs_where_the_network_takes_one(nearest_x2):
    batch = np.concatenate([smooth_image(4, 4), smooth_image(4, 4)[:, ::-1]])
    session = Session(nearest_x2())
    assert not session.one_image
    np.testing.assert_array_equal(session.run(batch), doubled(batch))


def test_a_batch_for_a_one_image_network_names_the_way_out(nearest_x2):
    session = Session(nearest_x2(shape="1,3,h,w"))
    assert session.one_image
    with pytest.raises(ModelError, match=r"one picture a run and was given 2.*--dynamic-batch"):
        session.run(np.zeros((2, 3, 4, 4), np.float32))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 3, 4, 4), np.uint8), "is uint8; give a float32 array"),
        (np.zeros((1, 3, 4, 4)), "is float64"),
        ([[1.0]], "is list"),
        (np.zeros((3, 4, 4), np.float32), r"shape \(3, 4, 4\); give \(N, 3, H, W\)"),
        (np.zeros((1, 1, 4, 4), np.float32), "has 1 channels, the network reads 3"),
        (np.zeros((1, 3, 0, 4), np.float32), "is empty"),
        (np.zeros((0, 3, 4, 4), np.float32), "is empty"),
    ],
)
def test_a_wrong_picture_is_refused_in_one_line(nearest_x2, image, message):
    with pytest.raises(ImageError, match=message) as error:
        Session(nearest_x2()).run(image)
    assert_one_line(error)


def test_a_network_of_one_size_refuses_others(nearest_x2):
    session = Session(nearest_x2(shape="1,3,8,6"))
    assert session.scale == 2
    assert session.run(smooth_image(8, 6)).shape == (1, 3, 16, 12)
    with pytest.raises(ImageError, match=r"reads only \(1, 3, 8, 6\)"):
        session.run(smooth_image(8, 8))


def test_a_size_at_which_the_network_fails_is_named():
    model = model_of("turned = Transpose<perm = [0, 1, 3, 2]>(image) larger = MaxPool<kernel_shape = [9, 9]>(turned)")
    with pytest.raises(ModelError, match="cannot run on a picture of 5x4 pixels") as error:
        Session(model).run(smooth_image(4, 5))
    assert_one_line(error)


def test_scale_comes_from_a_run_or_from_fixed_sizes(nearest_x2):
    assert Session(nearest_x2()).scale == 2
    assert Session(model_of("larger = Relu(image)")).scale == 1


def test_a_network_without_a_whole_scale_says_so():
    model = model_of("larger = MaxPool<kernel_shape = [2, 2]>(image)")
    with pytest.raises(ModelError, match="turns 32x32 into 31x31 pixels"):
        _ = Session(model).scale
    wide = model_of("larger = Concat<axis = 3>(image, image)")
    with pytest.raises(ModelError, match="turns 32x32 into 64x32 pixels"):
        _ = Session(wide).scale


def test_value_range_is_read_from_the_file(nearest_x2):
    assert Session(nearest_x2()).value_range == 255.0
    assert Session(nearest_x2(value_range="1.0")).value_range == 1.0


@pytest.mark.parametrize(
    "metadata",
    [
        {"daq.value_range": "white"},
        {"daq.value_range": "nan"},
        {"daq.value_range": "-1"},
        {"daq.layers": "{"},
        {"daq.layers": '[{"name": "a"}]'},
        {"daq.layers": "[1]"},
        {"daq.config": "{}"},
        {"daq.config": '{"version": 99}'},
    ],
)
def test_damaged_metadata_is_refused(nearest_x2, metadata):
    with pytest.raises(ModelError, match="daq") as error:
        Session(nearest_x2(metadata=metadata))
    assert_one_line(error)


def test_extra_outputs_are_returned_by_name(nearest_x2):
    image = smooth_image(2, 2)
    session = Session(nearest_x2(), extra_outputs=["copies", "larger", "copies"])
    values = session.run_outputs(image, ["copies", "larger"])
    assert set(values) == {"copies", "larger"}
    np.testing.assert_array_equal(values["copies"], image.repeat(4, axis=1))
    np.testing.assert_array_equal(session.run(image), doubled(image))


def test_an_output_is_added_once(nearest_x2):
    model = nearest_x2()
    add_outputs(model, ["copies", "larger", "copies"], "model")
    assert [output.name for output in model.graph.output] == ["larger", "copies"]


def test_a_scale_for_each_channel_survives_optimization():
    """By default ONNX Runtime fuses this to QLinearConv, which takes one activation scale and fails when it runs."""
    model = model_of(
        """extent = ReduceMax<keepdims = 0>(image, axes)
        levels = Constant<value_float = 15.0>()
        step = Div(extent, levels)
        codes = QuantizeLinear<axis = 1, output_dtype = 2>(image, step)
        values = DequantizeLinear<axis = 1>(codes, step)
        kernel = DequantizeLinear<axis = 0>(weight, weight_step)
        sums = Conv(values, kernel)
        output_codes = QuantizeLinear(sums, output_step, zero)
        larger = DequantizeLinear(output_codes, output_step, zero)""",
        constants="int64[3] axes = {0, 2, 3}, int8[3,3,1,1] weight = {9, 0, 0, 0, 9, 0, 0, 0, 9}, "
        "float[3] weight_step = {0.1, 0.1, 0.1}, float output_step = {1.0}, uint8 zero = {0}",
    )
    image = smooth_image(8, 8)
    plain = Session(model, optimization="disabled").run(image)
    np.testing.assert_allclose(Session(model).run(image), plain, atol=1)


def test_tensors_that_are_not_there_are_named(nearest_x2):
    with pytest.raises(OptionError, match="no node produces a tensor named 'codes'"):
        Session(nearest_x2(), extra_outputs=["codes"])
    with pytest.raises(ModelError, match=r"extra_outputs=\['copies'\]"):
        Session(nearest_x2()).run_outputs(smooth_image(2, 2), ["copies"])


def test_bind_runs_again_and_again(nearest_x2):
    run = Session(nearest_x2()).bind(smooth_image(4, 6))
    run()
    run()
    with pytest.raises(ImageError, match="is empty"):
        Session(nearest_x2()).bind(np.zeros((1, 3, 0, 0), np.float32))


def test_a_session_is_pickled_as_what_it_was_opened_with(nearest_x2_file, nearest_x2):
    image = smooth_image(3, 4)
    for model in (nearest_x2_file, nearest_x2()):
        session = Session(model, threads=1, optimization="basic", extra_outputs=["copies"])
        again = pickle.loads(pickle.dumps(session))
        assert again.describe() == session.describe()
        assert again.run_outputs(image, ["copies"])["copies"].shape == (1, 12, 3, 4)


def test_a_closed_session_says_so(nearest_x2):
    with Session(nearest_x2()) as session:
        pass
    with pytest.raises(ModelError, match="closed"):
        session.run(smooth_image(2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "--threads 0: choose 1 or more"),
        ({"optimization": "most"}, "optimization most: choose one of all"),
        ({"provider": "tpu"}, "--provider tpu: choose one of cpu, cuda"),
    ],
)
def test_options_out_of_range_are_refused(nearest_x2, options, message):
    with pytest.raises(OptionError, match=message):
        Session(nearest_x2(), **options)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.onnx: no such file"):
        Session(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x0a", os.urandom(200)])
def test_what_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "garbage.onnx"
    path.write_bytes(content)
    for model in (path, content):
        with pytest.raises(ModelError) as error:
            Session(model)
        assert_one_line(error)


def test_a_truncated_file_is_refused(nearest_x2_file):
    nearest_x2_file.write_bytes(nearest_x2_file.read_bytes()[:-40])
    with pytest.raises(ModelError, match=r"nearest_x2\.onnx") as error:
        Session(nearest_x2_file)
    assert_one_line(error)


def test_an_unknown_operator_is_named(nearest_x2):
    model = nearest_x2()
    model.graph.node[1].op_type = "Sharpen"
    with pytest.raises(ModelError, match="Sharpen") as error:
        Session(model)
    assert_one_line(error)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of("larger = Add(image, other)", image="float[n,3,h,w] image, float[n,3,h,w] other"), "has 2 inputs"),
        (model_of("larger = Relu(image)", "float16[n,3,h,w] image", "float16[a,b,c,d] larger"), r"tensor\(float16\)"),
        (model_of("larger = Relu(image)", "float[n,3,h] image", "float[a,b,c] larger"), "rank 3"),
        (model_of("larger = Shape(image)", larger="int64[4] larger"), r"larger is tensor\(int64\)"),
    ],
)
def test_what_does_not_map_a_picture_to_a_picture_is_refused(model, message):
    with pytest.raises(ModelError, match=message) as error:
        Session(model)
    assert_one_line(error)


def with_external_weight(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    weight = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight).tobytes()
    weight.ClearField("float_data")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(values)))):
        weight.external_data.add(key=key, value=value)
    return model


def test_external_data_in_the_files_own_folder_is_read(tmp_path, nearest_x2):
    values = onnx.numpy_helper.to_array(nearest_x2().graph.initializer[0]).tobytes()
    (tmp_path / "weights.bin").write_bytes(values)
    path = tmp_path / "model.onnx"
    path.write_bytes(with_external_weight(nearest_x2(), "weights.bin").SerializeToString())
    np.testing.assert_array_equal(Session(path).run(smooth_image(2, 3)), doubled(smooth_image(2, 3)))


@pytest.mark.parametrize("kind", ["parent", "absolute", "symlink", "absent"])
def test_external_data_elsewhere_is_refused(tmp_path: Path, nearest_x2, kind):
    values = onnx.numpy_helper.to_array(nearest_x2().graph.initializer[0]).tobytes()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(values)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    location = {"parent": "../secret.bin", "absolute": str(secret), "symlink": "link.bin", "absent": "none.bin"}[kind]
    path = folder / "model.onnx"
    path.write_bytes(with_external_weight(nearest_x2(), location).SerializeToString())
    with pytest.raises(ModelError, match=r"model\.onnx") as error:
        Session(path)
    assert_one_line(error)


def test_external_data_of_a_model_in_memory_is_refused(tmp_path, nearest_x2, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(onnx.numpy_helper.to_array(nearest_x2().graph.initializer[0]).tobytes())
    model = with_external_weight(nearest_x2(), "weights.bin")
    constant = model_of("larger = Relu(image)")
    constant.graph.node.add(op_type="Constant", output=["c"]).attribute.add(
        name="value", type=onnx.AttributeProto.TENSOR, t=model.graph.initializer[0]
    )
    for opened in (model, model.SerializeToString(), constant):
        with pytest.raises(ModelError, match="open the model by its path"):
            Session(opened)


def test_a_float_file_is_described(nearest_x2_file):
    description = Session(nearest_x2_file, threads=2).describe()
    assert (description.model, description.provider, description.threads) == (str(nearest_x2_file), "cpu", 2)
    assert description.config is None
    assert (description.quantized_convolutions, description.fallback_nodes) == (0, ())
    assert description.native_library is None


def test_a_daq_file_is_described_and_runs(tmp_path, shared_data):
    config = DaqConfig(weight_bits=4, activation_bits=4)
    path = tmp_path / "daq.onnx"
    quantized = quantize(shared_data / "onnx" / "edsr_f64b5_x2.onnx", config)
    quantized.save(path)
    with Session(path, threads=1) as session:
        description = session.describe()
        assert description.config == config
        assert description.quantized_convolutions == sum(layer.quantized for layer in quantized.layers) > 0
        assert session.one_image
        assert session.scale == 2
        assert session.run(smooth_image(15, 22)).shape == (1, 3, 30, 44)


def test_optimization_changes_a_daq_file_only_by_codes_on_a_rounding_boundary(tmp_path, shared_data):
    path = tmp_path / "daq.onnx"
    quantize(shared_data / "onnx" / "edsr_f64b5_x2.onnx", DaqConfig()).save(path)
    image = smooth_image(45, 70)
    plain, extended, every = (
        Session(path, threads=1, optimization=level).run(image) for level in ("disabled", "extended", "all")
    )
    np.testing.assert_array_equal(extended, plain)
    # `all` sums in another order. One code that flips moves a whole step, and later layers flip more: an input changed
    # by one part in 10^7 moves the output as far as this.
    assert np.sqrt(np.mean((every - plain) ** 2)) < 2.5
