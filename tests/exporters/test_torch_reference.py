from __future__ import annotations

import json
from functools import partial

import onnx_ir as ir
import pytest
import torch

from daq_deploy import quantize
from daq_deploy.config import DaqConfig
from daq_deploy.errors import ModelError
from daq_deploy.exporters.export import export_float
from daq_deploy.exporters.torch_reference import reference_of
from daq_deploy.models.edsr import EDSR
from daq_deploy.models.srresnet import SRResNet
from daq_deploy.runtime.session import Session
from daq_deploy.validation import Picture, Validation, gradients_and_edges


def checkpoint(module, path):
    torch.save(module.state_dict(), path)
    return path


@pytest.fixture(params=["edsr", "srresnet"])
def source(request, tmp_path):
    torch.manual_seed(0)
    module = (
        EDSR(n_resblocks=2, n_feats=8, scale=2)
        if request.param == "edsr"
        else SRResNet(n_resblocks=2, n_feats=8, scale=2)
    )
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return checkpoint(module, tmp_path / f"{request.param}.pt")


@pytest.mark.parametrize("profile", ["deploy", "paper"])
def test_the_graph_of_a_checkpoint_agrees_with_pytorch_layer_by_layer(profile, source, tmp_path):
    quantize(export_float(source).model, DaqConfig.of_profile(profile, 4)).save(tmp_path / "daq.onnx")
    picture = Picture(gradients_and_edges(24, 20, Session(tmp_path / "daq.onnx").value_range), "synthetic")
    reference = reference_of(source, ir.load(tmp_path / "daq.onnx"))
    report = Validation(tmp_path / "daq.onnx", reference, picture, partial(Session, threads=1)).run()
    assert report.failures == ()
    assert next(level.outcome for level in report.levels if level.number == 2) == "passed"
    assert report.notes == ()


def test_another_network_is_no_reference(source, tmp_path):
    other = checkpoint(EDSR(n_resblocks=1, n_feats=8, scale=2), tmp_path / "other.pt")
    daq = quantize(export_float(source).model, DaqConfig.of_profile("paper", 4)).model
    try:
        reason = str(reference_of(other, daq).torch)
    except ModelError as error:
        reason = str(error)
    assert "made from" in reason


def test_a_convolution_that_holds_another_is_not_compared_with_pytorch(source):
    daq = quantize(export_float(source).model, DaqConfig.of_profile("paper", 4)).model
    layers = json.loads(daq.metadata_props["daq.layers"])
    layers[1]["weight_shape"] = [8, 3, 3, 3]
    daq.metadata_props["daq.layers"] = json.dumps(layers)
    assert "was folded into the convolution before it" in str(reference_of(source, daq).torch)
