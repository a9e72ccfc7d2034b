from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.errors import ImageError, OptionError
from daq_deploy.runtime.baselines import BaselineRunner
from daq_deploy.runtime.configurations import (
    BITS,
    LAYERS,
    Baseline,
    DaqFile,
    FloatNetwork,
    Network,
    StaticInt8,
    configurations,
)
from daq_deploy.runtime.session import Session
from daq_deploy.runtime.static_int8 import quantize_static_int8
from tests.networks import edsr, picture, rlfn, run


@pytest.fixture
def train(tmp_path) -> Path:
    folder = tmp_path / "train"
    folder.mkdir()
    for number, waves in enumerate(picture(100, 120, images=16)):
        shaded = (number + 4) / 20 * waves.transpose(1, 2, 0)
        Image.fromarray(shaded.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def network() -> Network:
    model = ir.from_proto(rlfn())
    model.metadata_props["daq.value_range"] = "1.0"
    return Network("rlfn", model)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    return 20 * np.log10(np.ptp(truth)) - 10 * np.log10(np.square(found - truth).mean())


def test_everyone_gives_nearly_the_float_picture_at_8_bits(network, train):
    image = picture(20, 24) / np.float32(255)
    expected = FloatNetwork().open(network, FLOAT_BITS, 1).run(image)
    for name, configuration in configurations(train).items():
        runner = configuration.open(network, 8, 1)
        assert runner.value_range == 1.0
        assert psnr(runner.run(image), expected) > (20 if name.startswith(("paper", "reference")) else 30), name


def test_everyone_is_told_apart_from_the_others_and_at_every_bit_width(train):
    texts = [
        configuration.to_json(bits) for configuration in configurations(train).values() for bits in configuration.bits
    ]
    assert len(set(texts)) == len(texts) == 10 * len(BITS) + 1 + 3
    assert all("\n" not in text and json.loads(text) for text in texts)


def test_the_pictures_and_the_whole_configuration_are_part_of_the_text(train):
    before = {name: configuration.to_json(8) for name, configuration in configurations(train).items()}
    (train / "another.png").write_bytes(b"")
    after = {name: configuration.to_json(8) for name, configuration in configurations(train).items()}
    assert {name for name in before if before[name] != after[name]} == {
        "deploy-mixed-calibration",
        "deploy-calibration",
        "onnxruntime-static",
    }
    assert DaqFile(LAYERS).to_json(4) != DaqFile(DaqConfig()).to_json(4)


def test_all_but_onnx_runtime_quantize_the_same_layers_at_the_same_bits(network, train):
    plans = {}
    for name, configuration in configurations(train).items():
        runner = configuration.open(network, 8 if isinstance(configuration, StaticInt8) else 3, 1)
        if isinstance(configuration, Baseline):
            assert isinstance(runner, BaselineRunner)
            plans[name] = [(layer.weight_bits, layer.activation_bits) for layer in runner._plan.values()]
        elif isinstance(configuration, DaqFile):
            config = runner.describe().config
            assert (config.edges, config.weight_bits, config.activation_bits) == (("head", "tail"), 3, 3), name
    assert len(plans) == 4
    # Head, which reads the picture; body; attention; closing convolution; tail.
    expected = [(8, 32), (3, 3), (3, 3), (8, 8), (8, 8), (8, 8), (8, 8), (3, 3), (8, 8)]
    assert list(plans.values()) == [expected] * 4


def test_static_int8_has_one_range_a_tensor_and_a_step_an_output_channel():
    model = ir.from_proto(edsr())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    quantized = onnx.load_from_string(quantize_static_int8(model, picture(16, 16, images=2)))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    kinds = Counter(node.op_type for node in quantized.graph.node)
    assert kinds["Conv"] == 8
    initializers = {item.name: onnx.numpy_helper.to_array(item) for item in quantized.graph.initializer}
    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear":
            assert initializers[node.input[1]].shape == ()
            assert initializers[node.input[2]].dtype == np.uint8
    producers = {node.output[0]: node for node in quantized.graph.node}
    for node in quantized.graph.node:
        if node.op_type == "Conv":
            dequantize = producers[node.input[1]]
            codes, step = (initializers[name] for name in dequantize.input[:2])
            assert codes.dtype == np.int8
            assert step.shape == codes.shape[:1]


def test_static_int8_is_calibrated_on_single_patches(network, train, monkeypatch):
    from daq_deploy.runtime import configurations as module

    seen = []
    monkeypatch.setattr(
        module,
        "quantize_static_int8",
        lambda model, images: (seen.append(images), ir.to_proto(model).SerializeToString())[1],
    )
    StaticInt8(train).open(network, 8, 1)
    (images,) = seen
    assert images.shape == (16, 3, 48, 48)
    assert 0.5 < images.max() <= 1
    # Waves have no jumps but where patches meet.
    assert np.abs(np.diff(images, axis=3)).max() < 0.35


def test_a_network_is_folded_on_a_copy_and_knows_its_scale(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(edsr(), path)
    for network in (Network("file", path), Network("memory", ir.from_proto(edsr()))):
        before = network.to_bytes()
        folded = network.folded()
        folded.graph.initializers.clear()
        assert network.to_bytes() == before
        assert network.scale == 2
        with Session(before, threads=1) as session:
            np.testing.assert_array_equal(session.run(picture(8, 8)), run(edsr(), picture(8, 8)))


def test_what_is_missing_is_named(tmp_path, network):
    with pytest.raises(OptionError, match="train is missing"):
        configurations(tmp_path / "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(ImageError, match="holds no picture"):
        configurations(tmp_path / "train")["onnxruntime-static"].open(network, 8, 1)
