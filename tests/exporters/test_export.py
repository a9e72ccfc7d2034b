from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from daq_deploy.errors import CheckFailed, CheckpointError
from daq_deploy.exporters import export as export_module
from daq_deploy.exporters.architectures.base import ArchitectureDescription, Undetectable
from daq_deploy.exporters.export import ExportedModel, check_against_torch, check_quantized, export_float
from daq_deploy.exporters.registry import LoadedNetwork
from daq_deploy.files import sha256_of
from daq_deploy.model_file import model_bytes
from daq_deploy.models.edsr import EDSR
from daq_deploy.models.rdn import RDN
from daq_deploy.models.srresnet import SRResNet


class StockRunner:
    """A plain ONNX Runtime session, with a change to its output."""

    def __init__(self, data: bytes, change: float = 0.0, cut: int = 0) -> None:
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.value_range, self.change, self.cut = 255.0, change, cut

    def run(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        output: npt.NDArray[np.float32] = self.session.run(None, {"input": image})[0] + np.float32(self.change)
        return output[..., self.cut :]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "edsr.pt"
    torch.save(EDSR(2, n_resblocks=2, n_feats=8, res_scale=0.1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> ExportedModel:
    return export_float(checkpoint, res_scale=0.1)


def test_the_graph_is_what_is_promised(exported: ExportedModel, checkpoint: Path) -> None:
    proto = onnx.load_from_string(model_bytes(exported.model))
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 21)]
    (entry,), (output,) = proto.graph.input, proto.graph.output
    assert (entry.name, output.name) == ("input", "output")
    dimensions = [dimension.dim_param or dimension.dim_value for dimension in entry.type.tensor_type.shape.dim]
    assert dimensions == ["n", 3, "h", "w"]
    metadata = {property.key: property.value for property in proto.metadata_props}
    assert set(metadata) == {"daq.architecture", "daq.source_sha256", "daq.value_range"}
    assert metadata["daq.value_range"] == "255.0"
    assert metadata["daq.source_sha256"] == sha256_of(checkpoint)
    architecture = json.loads(metadata["daq.architecture"])
    assert (architecture["name"], architecture["scale"]) == ("EDSR", 2)
    assert architecture["parameters"]["res_scale"] == 0.1


def test_no_local_path_or_stack_trace_is_left(exported: ExportedModel) -> None:
    data = model_bytes(exported.model)
    for trace in (b".py", b"File ", str(Path.home()).encode(), b"site-packages", b"stack_trace"):
        assert trace not in data


def test_the_same_checkpoint_gives_the_same_bytes(exported: ExportedModel, checkpoint: Path) -> None:
    assert model_bytes(export_float(checkpoint, res_scale=0.1).model) == model_bytes(exported.model)


def test_any_batch_and_size_runs(exported: ExportedModel) -> None:
    runner = StockRunner(model_bytes(exported.model))
    for shape in ((1, 3, 1, 1), (3, 3, 5, 8), (1, 3, 2, 61)):
        image = np.full(shape, 100, np.float32)
        with torch.inference_mode():
            expected = exported.module(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(runner.run(image), expected, rtol=1e-4, atol=1e-3)


def test_opset_25(checkpoint: Path) -> None:
    model = export_float(checkpoint, opset=25).model
    assert model.opset_imports[""] == 25
    onnx.checker.check_model(onnx.load_from_string(model_bytes(model)), full_check=True)


@pytest.mark.parametrize("network", [RDN(3, 2, 2, 4, 6), SRResNet(4, 1, 8, n_slopes=8)], ids=["rdn", "srresnet"])
def test_other_architectures_compute_the_same(tmp_path: Path, network: nn.Module) -> None:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias)
            nn.init.uniform_(module.running_mean)
    path = tmp_path / "network.pt"
    torch.save(network.state_dict(), path)
    exported = export_float(path)
    check_against_torch(exported, StockRunner)
    operators = {node.op_type for node in exported.model.graph}
    assert "BatchNormalization" not in operators
    weights = set(exported.model.graph.initializers)
    assert {f"{name}.bias" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)} <= weights


def test_a_real_checkpoint_is_exported_silently(shared_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    exported = export_float(shared_data / "weights" / "edsr_f64b5_x2.pt")
    check_against_torch(exported, StockRunner)
    assert capfd.readouterr() == ("", "")
    assert exported.architecture.parameters["direct_tail"] is True
    reference = onnxruntime.InferenceSession(shared_data / "onnx" / "edsr_f64b5_x2.onnx")
    image = np.linspace(0, 255, 3 * 19 * 21, dtype=np.float32).reshape(1, 3, 19, 21)
    (expected,) = reference.run(None, {"input": image})
    np.testing.assert_allclose(StockRunner(model_bytes(exported.model)).run(image), expected, atol=1e-2)


def test_a_graph_that_computes_something_else_is_caught(exported: ExportedModel) -> None:
    check_against_torch(exported, lambda data: StockRunner(data, change=0.0))
    with pytest.raises(CheckFailed, match=r"differs from PyTorch at 23x17 pixels: PSNR 48\.1 dB, below 80 dB"):
        check_against_torch(exported, lambda data: StockRunner(data, change=1.0))
    with pytest.raises(CheckFailed, match=r"the graph gives shape \(1, 3, 34, 45\) at 23x17 pixels"):
        check_against_torch(exported, lambda data: StockRunner(data, cut=1))
    with pytest.raises(CheckFailed, match="the graph gives NaN or infinite values at 23x17 pixels"):
        check_against_torch(exported, lambda data: StockRunner(data, change=float("nan")))


def test_a_network_that_is_not_finite_is_caught(exported: ExportedModel) -> None:
    class Infinite(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 0

    with pytest.raises(CheckFailed, match="EDSR: PyTorch itself gives NaN or infinite values at 23x17 pixels"):
        check_against_torch(replace(exported, module=Infinite()), StockRunner)


def test_a_network_that_overwrites_its_input_is_compared_fairly(exported: ExportedModel) -> None:
    class Overwriting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = exported.module(x.clone())
            x.zero_()
            return result

    check_against_torch(replace(exported, module=Overwriting()), StockRunner)


def test_a_quantized_graph_is_compared_without_a_gate(exported: ExportedModel) -> None:
    data = model_bytes(exported.model)
    assert check_quantized(exported, data, lambda data: StockRunner(data, change=1.0)) == pytest.approx(48.13, abs=0.1)
    with pytest.raises(CheckFailed, match="NaN"):
        check_quantized(exported, data, lambda data: StockRunner(data, change=float("inf")))


def test_a_network_that_torch_cannot_export_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DataDependent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if bool(x.sum() > 0) else -x

    def load(path: Path, undetectable: Undetectable) -> LoadedNetwork:
        return LoadedNetwork(DataDependent(), ArchitectureDescription("Odd", 1, 1.0, {}))

    monkeypatch.setattr(export_module, "load_network", load)
    with pytest.raises(CheckpointError, match=r"edsr\.pt: torch\.onnx cannot export Odd: ") as caught:
        export_float(checkpoint)
    assert "\n" not in str(caught.value)
