from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from daq_deploy.errors import CheckpointError, OptionError
from daq_deploy.exporters.architectures.base import Undetectable, sequence_length, square_root
from daq_deploy.exporters.registry import LoadedNetwork, load_network
from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.models.edsr import EDSR
from daq_deploy.models.rdn import RDN
from daq_deploy.models.srresnet import SRResNet

AS_STATED = Undetectable()

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    f"edsr x{scale}": lambda scale=scale: EDSR(scale, n_resblocks=3, n_feats=8) for scale in (2, 3, 4)
}
NETWORKS |= {
    f"edsr direct x{scale}": lambda scale=scale: EDSR(scale, 2, 8, mean_shift=False, direct_tail=True)
    for scale in (2, 3, 4)
}
NETWORKS |= {f"rdn x{scale}": lambda scale=scale: RDN(scale, 2, 3, 4, 6) for scale in (2, 3, 4)}
NETWORKS |= {f"srresnet x{scale}": lambda scale=scale: SRResNet(scale, 2, 8) for scale in (2, 3, 4)}
NETWORKS |= {
    "srresnet slopes": lambda: SRResNet(4, 2, 8, n_slopes=8),
    "srresnet folded": lambda: fold_batch_norm(SRResNet(2, 2, 8)),
}


def save(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def assert_same_network(loaded: LoadedNetwork, network: nn.Module) -> None:
    """The loaded network computes the same and its description builds one of the same kind."""
    image = torch.rand(1, 3, 6, 7)
    with torch.inference_mode():
        assert torch.equal(loaded.module(image), network.eval()(image))
    assert not loaded.module.training


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_recognized_by_its_weights(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    loaded = load_network(save(network, tmp_path / "network.pt"), AS_STATED)
    assert loaded.description.name.lower() == name.split()[0]
    assert loaded.description.scale == network(torch.rand(1, 3, 4, 4)).shape[-1] // 4
    assert_same_network(loaded, network)


def test_the_description_tells_what_was_read_and_what_was_stated(tmp_path: Path) -> None:
    path = save(EDSR(4, 3, 8, res_scale=0.1, mean_shift=False), tmp_path / "network.pt")
    description = load_network(path, Undetectable(res_scale=0.1, value_range=1.0)).description
    assert description.to_json() == (
        '{"name": "EDSR", "parameters": {"direct_tail": false, "mean_shift": false, "n_feats": 8, "n_resblocks": 3, '
        '"res_scale": 0.1, "scale": 4}, "scale": 4, "value_range": 1.0}'
    )


def test_res_scale_is_what_is_stated_and_never_guessed(tmp_path: Path) -> None:
    network = EDSR(2, 2, 8, res_scale=0.1)
    path = save(network, tmp_path / "network.pt")
    assert_same_network(load_network(path, Undetectable(res_scale=0.1)), network)
    with torch.device("meta"):
        full = EDSR(2, n_resblocks=1, n_feats=256)
    path = save(full.to_empty(device="cpu").apply(lambda module: [p.data.zero_() for p in module.parameters()]), path)
    assert load_network(path, AS_STATED).description.parameters["res_scale"] == 1.0


@pytest.mark.parametrize(
    ("network", "value_range"),
    [
        (EDSR(2, 1, 8, value_range=255.0), 255.0),
        (EDSR(2, 1, 8, value_range=1.0), 1.0),
        (EDSR(2, 1, 8, mean_shift=False), 255.0),
        (RDN(2, 1, 1, 4, 6), 255.0),
        (SRResNet(2, 1, 8), 1.0),
    ],
)
def test_value_range_is_read_or_that_of_the_architecture(
    tmp_path: Path, network: nn.Module, value_range: float
) -> None:
    path = save(network, tmp_path / "network.pt")
    assert load_network(path, AS_STATED).description.value_range == value_range
    assert load_network(path, Undetectable(value_range=value_range)).description.value_range == value_range


def test_options_that_contradict_the_network_are_refused(tmp_path: Path) -> None:
    edsr, rdn = save(EDSR(2, 1, 8), tmp_path / "edsr.pt"), save(RDN(2, 1, 1, 4, 6), tmp_path / "rdn.pt")
    with pytest.raises(OptionError, match=r"--value-range 1: the mean shift in .*edsr\.pt is that of values 0\.\.255"):
        load_network(edsr, Undetectable(value_range=1.0))
    with pytest.raises(OptionError, match="--value-range 256: choose 1 or 255"):
        load_network(edsr, Undetectable(value_range=256.0))
    with pytest.raises(OptionError, match=r"--res-scale 0\.1: RDN has no residual scale"):
        load_network(rdn, Undetectable(res_scale=0.1))


def damaged(change: Callable[[dict[str, Any]], object], network: nn.Module, path: Path) -> str:
    weights = dict(network.state_dict())
    change(weights)
    torch.save(weights, path)
    with pytest.raises(CheckpointError) as caught:
        load_network(path, AS_STATED)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    edsr = EDSR(2, 2, 8, mean_shift=False)
    assert "body.2.bias is missing" in damaged(lambda w: w.pop("body.2.bias"), edsr, path)
    assert "extra has no place in it" in damaged(lambda w: w.update(extra=torch.ones(1)), edsr, path)
    assert "body.2.weight has shape 8x4x3x3 where 8x8x3x3 is expected" in damaged(
        lambda w: w.update({"body.2.weight": torch.ones(8, 4, 3, 3)}), edsr, path
    )
    assert "not its shapes: 20 channels are no square number" in damaged(
        lambda w: w.update({"tail.0.0.weight": torch.ones(160, 8, 3, 3)}), edsr, path
    )
    assert "not its shapes: scale 5 is not one of 2, 3, 4" in damaged(
        lambda w: w.update({"tail.0.0.weight": torch.ones(200, 8, 3, 3)}), edsr, path
    )
    srresnet = SRResNet(2, 1, 8)
    assert "looks like SRResNet, but" in damaged(lambda w: w.pop("trunk.0.rcb.4.bias"), srresnet, path)
    assert "not its shapes" in damaged(lambda w: w.update({"conv1.1.weight": torch.tensor(0.2)}), srresnet, path)
    assert "not its shapes" in damaged(lambda w: w.pop("conv1.1.weight"), srresnet, path)


def test_batch_norm_without_its_counter_loads(tmp_path: Path) -> None:
    network = SRResNet(2, 1, 8)
    path = tmp_path / "network.pt"
    torch.save({name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}, path)
    assert_same_network(load_network(path, AS_STATED), network)


@pytest.mark.parametrize("name", ["rlfn_x4.pth", "rfdn_x4.pth"])
def test_an_unknown_architecture_is_told_what_is_known(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)  # as where it is not installed
    with pytest.raises(CheckpointError) as caught:
        load_network(shared_data / "weights" / name, AS_STATED)
    message = str(caught.value)
    assert message.startswith(f"{shared_data / 'weights' / name}: unknown architecture")
    assert "known are EDSR, RDN, SRResNet, the nearest by parameter names is" in message
    assert message.endswith("`pip install spandrel` adds about 40 more")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("names", "nearest"),
    [
        (["head.0.weight", "body.0.body.0.weight", "body.0.conv.weight", "tail.0.weight"], "EDSR"),
        (["SFENet1.weight", "RDBs.0.convs.0.conv.weight", "RDBs.0.LFF.weight", "GFF.0.weight"], "RDN"),
        (["conv1.weight", "trunk.0.rcb.0.weight", "trunk.0.rcb.3.weight", "conv2.weight"], "SRResNet"),
    ],
)
def test_the_nearest_architecture_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], nearest: str
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    path = tmp_path / "network.pt"
    torch.save({name: torch.ones(1) for name in names}, path)
    with pytest.raises(CheckpointError, match=f"the nearest by parameter names is {nearest} "):
        load_network(path, AS_STATED)


class FakeSpandrel(ModuleType):
    """What is used of spandrel: it knows networks of one convolution called `only`."""

    class UnsupportedModelError(Exception):
        pass

    class ImageModelDescriptor(SimpleNamespace):
        pass

    def __init__(self) -> None:
        super().__init__("spandrel")
        self.architecture = "Only"
        self.__spec__ = importlib.machinery.ModuleSpec("spandrel", None)
        self.devices: list[str] = []

    def ModelLoader(self, device: str) -> FakeSpandrel:
        self.devices.append(device)
        return self

    def load_from_state_dict(self, state_dict: dict[str, torch.Tensor]) -> SimpleNamespace:
        if "broken.weight" in state_dict:
            raise IndexError("list index out of range\nand more")
        if "only.weight" not in state_dict:
            raise self.UnsupportedModelError
        network = nn.Sequential()
        network.add_module("only", nn.Conv2d(*reversed(state_dict["only.weight"].shape[:2]), 3, padding=1))
        network.load_state_dict(state_dict)
        channels = network.only.in_channels
        return self.ImageModelDescriptor(
            model=network,
            architecture=SimpleNamespace(name=self.architecture),
            scale=1,
            input_channels=channels,
            output_channels=channels,
        )


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> FakeSpandrel:
    fake = FakeSpandrel()
    monkeypatch.setitem(sys.modules, "spandrel", fake)
    return fake


def only_network(channels: int) -> nn.Module:
    network = nn.Sequential()
    network.add_module("only", nn.Conv2d(channels, channels, 3, padding=1))
    return network


def test_spandrel_builds_what_is_unknown_here(tmp_path: Path, spandrel: FakeSpandrel) -> None:
    network = only_network(3)
    loaded = load_network(save(network, tmp_path / "network.pt"), AS_STATED)
    assert (loaded.description.name, loaded.description.scale, loaded.description.value_range) == ("Only", 1, 1.0)
    assert spandrel.devices == ["cpu"]
    assert_same_network(loaded, network)
    stated = load_network(tmp_path / "network.pt", Undetectable(value_range=255.0))
    assert stated.description.value_range == 255.0
    with pytest.raises(OptionError, match=r"--res-scale 0\.1: Only has no residual scale"):
        load_network(tmp_path / "network.pt", Undetectable(res_scale=0.1))


def test_known_architectures_do_not_go_through_spandrel(tmp_path: Path, spandrel: FakeSpandrel) -> None:
    load_network(save(EDSR(2, 1, 8), tmp_path / "network.pt"), AS_STATED)
    assert spandrel.devices == []


def test_what_spandrel_does_not_build_is_refused(tmp_path: Path, spandrel: FakeSpandrel) -> None:
    path = tmp_path / "network.pt"
    for weights, message in (
        ({"other": torch.ones(1)}, "unknown architecture .*; spandrel does not know it either$"),
        ({"broken.weight": torch.ones(1)}, "spandrel cannot build it: list index out of range$"),
        (only_network(1).state_dict(), "Only does not map an RGB image to an RGB image$"),
    ):
        torch.save(weights, path)
        with pytest.raises(CheckpointError, match=message):
            load_network(path, AS_STATED)


def test_a_network_that_crashes_the_exporter_is_refused(tmp_path: Path, spandrel: FakeSpandrel) -> None:
    spandrel.architecture = "SPAN"
    with pytest.raises(CheckpointError, match=r"SPAN rewrites its own weights .*`daq-deploy quantize`$"):
        load_network(save(only_network(3), tmp_path / "network.pt"), AS_STATED)


def test_a_spandrel_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    torch.save({"other": torch.ones(1)}, tmp_path / "network.pt")
    with pytest.raises(
        CheckpointError, match=r"spandrel is installed but cannot be imported \(operator torchvision::nms"
    ):
        load_network(tmp_path / "network.pt", AS_STATED)


def test_sequence_length_counts_to_the_first_gap() -> None:
    assert sequence_length(["body.0.weight", "body.1.0.bias", "body.3.weight", "tail.2.weight"], "body.") == 2
    assert sequence_length(["body.1.weight", f"body.{'9' * 30}.weight"], "body.") == 0
    assert sequence_length([], "body.") == 0


def test_square_root_is_exact() -> None:
    assert [square_root(number) for number in (0, 1, 4, 9, 16)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="8 channels"):
        square_root(8)
