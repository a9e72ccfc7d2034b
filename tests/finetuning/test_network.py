"""What trains computes what the exported graph computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from daq_deploy import DaqConfig, quantize
from daq_deploy.errors import CheckpointError, OptionError
from daq_deploy.exporters.checkpoint import load_checkpoint, save_fine_tuned
from daq_deploy.exporters.export import export_float, float_graph
from daq_deploy.finetuning.network import TrainableNetwork
from daq_deploy.models.blocks import fold_batch_norm
from daq_deploy.models.edsr import EDSR
from daq_deploy.models.rdn import RDN
from daq_deploy.models.srresnet import SRResNet
from daq_deploy.runtime.session import Session
from daq_deploy.runtime.synthetic import smooth_image
from daq_deploy.trained_quantizers import TrainedQuantizers

ROOT = Path(__file__).resolve().parents[2]


def srresnet() -> nn.Module:
    module = SRResNet(n_resblocks=2, n_feats=8, scale=2)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


NETWORKS = {
    "EDSR": (lambda: EDSR(2, n_resblocks=2, n_feats=8), 255.0, 1.0),
    "EDSR with residual scale": (lambda: EDSR(2, n_resblocks=2, n_feats=8, res_scale=0.1), 255.0, 0.1),
    "RDN": (lambda: RDN(2, n_blocks=2, n_layers=2, growth=8, n_feats=8), 1.0, 1.0),
    "SRResNet": (srresnet, 1.0, 1.0),
}


def trained_network(module: nn.Module, value_range: float, res_scale: float, config: DaqConfig) -> TrainableNetwork:
    """A network whose weights, steps and tails have left where they started."""
    module, config = fold_batch_norm(module), replace(config, levels="even")
    graph = float_graph(module, value_range)
    nearest = replace(config, weight_rule="nearest")  # takes less time; but bits of weights are mixed by `deploy` alone
    network = TrainableNetwork.of(
        module,
        graph,
        quantize(graph, config if config.mixed else nearest),
        nearest,
        {"value_range": value_range, "res_scale": res_scale},
    )
    generator = torch.Generator().manual_seed(1)
    *weights, scalars = network.parameter_groups()
    with torch.no_grad():
        for parameter in (parameter for group in weights for parameter in group.parameters):
            parameter.mul_(1 + 0.05 * torch.randn(parameter.shape, generator=generator))
        for parameter in scalars.parameters:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    network.keep_in_range()
    return network


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10(np.abs(expected).max() ** 2 / np.square(found.astype(np.float64) - expected).mean()))


def compare(module: nn.Module, value_range: float, res_scale: float, config: DaqConfig, path: Path) -> None:
    network = trained_network(module, value_range, res_scale, config)
    save_fine_tuned(path, network.plain_state(), network.trained())
    exported = export_float(path)
    quantized = quantize(exported.model, exported.trained.config, trained=exported.trained)
    image = smooth_image(40, 36, value_range)
    with torch.inference_mode():
        expected = network.module(torch.from_numpy(image)).numpy()
        floating = exported.module(torch.from_numpy(image)).numpy()
    with Session(quantized.to_bytes(), native=False) as session:
        found = session.run(image)
    assert psnr(found, expected) > 60
    assert psnr(floating, expected) < 50  # else nothing was quantized


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_graph_computes_what_was_trained(name: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, value_range, res_scale = NETWORKS[name]
    compare(build().eval(), value_range, res_scale, DaqConfig.of_profile("deploy", 3), tmp_path / f"network{suffix}")


@pytest.mark.parametrize("bits", [2, 4])
def test_the_network_that_ships(bits: int, tmp_path: Path) -> None:
    shipped = export_float(ROOT / "models/checkpoints/edsr_f32b8_x2.safetensors")
    compare(shipped.module, 255.0, 1.0, DaqConfig.of_profile("deploy", bits), tmp_path / "network.pt")


def test_mixed_bits_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = EDSR(2, n_resblocks=2, n_feats=8).eval()
    config = replace(DaqConfig.of_profile("deploy", 4), mixed=True, edges=("head",))
    compare(module, 255.0, 1.0, config, tmp_path / "network.pt")
    trained = load_checkpoint(tmp_path / "network.pt").trained
    assert any(len(set(layer.channel_bits or (4,))) > 1 for layer in trained.layers)
    assert len({layer.weight_bits for layer in trained.layers if layer.role != "head"}) > 1


def test_real_networks(shared_data: Path, tmp_path: Path) -> None:
    exported = export_float(shared_data / "weights/edsr_f64b5_x2.pt")
    compare(exported.module, 255.0, 1.0, DaqConfig.of_profile("deploy", 2), tmp_path / "network.pt")


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )  # fmt: skip
    network = trained_network(module, 1.0, 1.0, DaqConfig.of_profile("deploy", 4))
    plain = fold_batch_norm(module)
    plain.load_state_dict(network.plain_state())
    trained = TrainedQuantizers.from_json(network.trained().to_json())
    quantized = quantize(float_graph(plain, 1.0), trained.config, trained=trained)
    image = smooth_image(20, 24, 1.0)
    with torch.inference_mode():
        expected = network.module(torch.from_numpy(image)).numpy()
    with Session(quantized.to_bytes(), native=False) as session:
        assert psnr(session.run(image), expected) > 60


@pytest.mark.parametrize("bits", [2, 4])
def test_it_starts_from_the_weights_that_were_chosen_without_training(bits: int) -> None:
    torch.manual_seed(0)
    module = fold_batch_norm(EDSR(2, n_resblocks=2, n_feats=8, res_scale=0.5).eval())
    graph = float_graph(module, 255.0)
    config = replace(DaqConfig.of_profile("deploy", bits), levels="even")
    chosen = quantize(graph, config)
    network = TrainableNetwork.of(module, graph, chosen, replace(config, weight_rule="nearest"), {})
    image = smooth_image(20, 24, 255.0)
    with torch.inference_mode():
        found = network.module(torch.from_numpy(image)).numpy()
    with Session(chosen.to_bytes(), native=False) as session:
        assert psnr(found, session.run(image)) > 60


def test_a_step_changes_every_layer_by_a_like_share() -> None:
    torch.manual_seed(0)
    module = EDSR(2, n_resblocks=1, n_feats=8).eval()
    with torch.no_grad():
        module.head[0].weight *= 0.01  # as of a network on 0..255
    network = trained_network(module, 255.0, 1.0, DaqConfig.of_profile("deploy", 4))
    groups = network.parameter_groups()
    trained = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(trained) == sorted(
        id(parameter) for parameter in network.module.parameters() if parameter.requires_grad
    )
    optimizer = torch.optim.Adam([{"params": group.parameters, "lr": 1e-3 * group.rate} for group in groups])
    before = {name: tensor.detach().clone() for name, tensor in network.module.named_parameters()}
    network.module(torch.from_numpy(smooth_image(20, 24, 255.0))).square().mean().backward()
    optimizer.step()
    shares = {
        name: float((tensor - before[name]).detach().norm() / before[name].norm())
        for name, tensor in network.module.named_parameters()
        if name.endswith(".weight") and tensor.requires_grad
    }
    assert len(shares) == 6
    for name, share in shares.items():
        assert 0.015 < share < 0.021, name  # 1e-3 / 0.05, where no gradient is zero


def test_other_rules_do_not_train() -> None:
    module = EDSR(2, n_resblocks=1, n_feats=8).eval()
    config = DaqConfig.of_profile("paper", 4)
    graph = float_graph(module, 255.0)
    with pytest.raises(OptionError, match="deploy"):
        TrainableNetwork.of(module, graph, quantize(graph, config), config, {})


def test_a_record_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = trained_network(EDSR(2, n_resblocks=1, n_feats=8).eval(), 255.0, 1.0, DaqConfig())
    other = EDSR(2, n_resblocks=2, n_feats=8)
    save_fine_tuned(tmp_path / "other.pt", other.state_dict(), network.trained())
    exported = export_float(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"body\.1\.body\.0"):
        quantize(exported.model, exported.trained.config, trained=exported.trained)


def test_a_damaged_record_is_one_line() -> None:
    for text in ("", "{}", "[]", '{"version": 1, "config": 3}'):
        with pytest.raises(CheckpointError, match="damaged"):
            TrainedQuantizers.from_json(text)
    with pytest.raises(CheckpointError, match="newer"):
        TrainedQuantizers.from_json('{"version": 2}')


def test_a_damaged_record_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    weights = EDSR(2, n_resblocks=1, n_feats=8).state_dict()
    torch.save({"params": weights, "daq.trained_quantizers": "{}"}, path)
    with pytest.raises(CheckpointError, match=r"damaged\.pt: the checkpoint's record of its quantizers is damaged"):
        load_checkpoint(path)


def test_the_rule_of_training_needs_a_trained_checkpoint() -> None:
    graph = float_graph(EDSR(2, n_resblocks=1, n_feats=8).eval(), 255.0)
    with pytest.raises(OptionError, match="fine-tuned"):
        quantize(graph, replace(DaqConfig(), weight_rule="trained"))
