from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from daq_deploy.errors import ModelError
from daq_deploy.exporters.export import float_graph
from daq_deploy.finetuning import copy_onnx_weights
from daq_deploy.model_file import save_model
from daq_deploy.models.srresnet import SRResNet

ROOT = Path(__file__).resolve().parent.parent.parent


def srresnet(n_slopes: int = 8, n_resblocks: int = 2) -> SRResNet:
    module = SRResNet(2, n_resblocks=n_resblocks, n_feats=8, n_slopes=n_slopes, batch_norm=False).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def plain_network() -> nn.Module:
    """As many layers as `srresnet` has, all of them convolutions."""
    first = nn.Conv2d(3, 8, 9, padding=4)
    return nn.Sequential(first, *(nn.Conv2d(8, 8, 3, padding=1) for _ in range(11)))


@pytest.fixture
def written(tmp_path: Path) -> tuple[SRResNet, Path]:
    torch.manual_seed(0)
    module, path = srresnet(), tmp_path / "srresnet.onnx"
    save_model(float_graph(module, 1.0), path, force=False)
    return module, path


def test_weights_come_back_bit_for_bit(written: tuple[SRResNet, Path]) -> None:
    module, path = written
    other = srresnet()
    copy_onnx_weights(path, other)
    for name, tensor in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (srresnet(n_resblocks=3), r"has \d+ layers with weights, the PyTorch network has \d+"),
        (srresnet(n_slopes=1), r"its weights for conv1\.1 have not the shape"),
        (plain_network(), r"has a PRelu where the PyTorch network has 1, another kind of layer"),
    ],
)
def test_another_network_is_refused(written: tuple[SRResNet, Path], module: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refusal:
        copy_onnx_weights(written[1], module)
    assert re.match(re.escape(str(written[1])), str(refusal.value))


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finetune_srresnet", ROOT / "docs/examples/finetune_srresnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_network_of_the_example(shared_data: Path) -> None:
    path = shared_data / "onnx/srresnet_x4.onnx"
    module = example().BytesSRResNet().eval()
    copy_onnx_weights(path, module)
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 24, 20)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: image})
    with torch.inference_mode():
        np.testing.assert_allclose(module(torch.from_numpy(image)).numpy(), expected, atol=1e-3)
