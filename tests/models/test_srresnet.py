from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.models.srresnet import SRResNet


def randomize_batch_norm(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_output_is_scale_times_as_large(scale: int, batch_norm: bool) -> None:
    network = SRResNet(scale, n_resblocks=2, n_feats=4, batch_norm=batch_norm).eval()
    assert network(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


def test_names_are_those_of_srgan_pytorch() -> None:
    names = [name for name in SRResNet(2, n_resblocks=1, n_feats=4).state_dict() if "num_batches" not in name]
    norm = ["weight", "bias", "running_mean", "running_var"]
    assert names == [
        "conv1.0.weight", "conv1.0.bias", "conv1.1.weight",
        "trunk.0.rcb.0.weight", *(f"trunk.0.rcb.1.{kind}" for kind in norm), "trunk.0.rcb.2.weight",
        "trunk.0.rcb.3.weight", *(f"trunk.0.rcb.4.{kind}" for kind in norm),
        "conv2.0.weight", *(f"conv2.1.{kind}" for kind in norm),
        "upsampling.0.upsample_block.0.weight", "upsampling.0.upsample_block.0.bias",
        "upsampling.0.upsample_block.2.weight",
        "conv3.weight", "conv3.bias",
    ]  # fmt: skip


def test_folding_batch_norm_keeps_the_function_and_the_names() -> None:
    network = SRResNet(2, n_resblocks=2, n_feats=8, n_slopes=8).eval()
    randomize_batch_norm(network)
    folded = fold_batch_norm(network)
    image = torch.rand(1, 3, 9, 8)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(folded(image), network(image), rtol=1e-4, atol=1e-5)
    without_norm = SRResNet(2, n_resblocks=2, n_feats=8, n_slopes=8, batch_norm=False)
    without_norm.load_state_dict(folded.state_dict())
    assert torch.equal(without_norm(image), folded(image))


def test_weights_of_a_trained_folded_network(shared_data: Path) -> None:
    model = onnx.load(shared_data / "onnx" / "srresnet_x4.onnx")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    slopes = [stored[node.input[1]].ravel() for node in model.graph.node if node.op_type == "PRelu"]
    network = SRResNet(4, n_slopes=64, batch_norm=False).eval()
    ours = network.state_dict()
    convolutions = [name for name in ours if ours[name].dim() == 4]
    theirs = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    for name, other in zip(convolutions, theirs, strict=True):
        ours[name].copy_(torch.from_numpy(stored[other].copy()))
        bias = other.removesuffix("weight") + "bias"
        ours[name.removesuffix("weight") + "bias"].copy_(torch.from_numpy(stored[bias].copy()))
    for name, slope in zip(
        [name for name in ours if ours[name].shape == (64,) and "bias" not in name], slopes, strict=True
    ):
        ours[name].copy_(torch.from_numpy(slope.copy()))

    picture = np.linspace(0, 1, 3 * 11 * 14, dtype=np.float32).reshape(1, 3, 11, 14) ** 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"input": 255 * picture})
    with torch.inference_mode():
        linear = network(torch.from_numpy(picture))
    # That network ends with a tanh of its own.
    np.testing.assert_allclose(127.5 * (torch.tanh(linear).numpy() + 1), expected, atol=0.01)
