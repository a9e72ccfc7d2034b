from __future__ import annotations

import pytest
import torch

from daq_deploy.models.rdn import RDN, RDN_CONFIGURATIONS


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_output_is_scale_times_as_large(scale: int) -> None:
    network = RDN(scale, n_blocks=2, n_layers=2, growth=4, n_feats=6)
    assert network(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


@pytest.mark.parametrize(("name", "parameters"), [("A", 5_541_795), ("B", 22_123_395)])
def test_configurations_have_the_published_size(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = RDN(2, **RDN_CONFIGURATIONS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_names_are_those_of_edsr_pytorch() -> None:
    names = set(RDN(4, n_blocks=2, n_layers=3, growth=4, n_feats=6).state_dict())
    layers = ["SFENet1", "SFENet2", "GFF.0", "GFF.1", "UPNet.0", "UPNet.2", "UPNet.4"]
    for block in range(2):
        layers += [f"RDBs.{block}.LFF", *(f"RDBs.{block}.convs.{layer}.conv.0" for layer in range(3))]
    assert names == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert {"UPNet.0.weight", "UPNet.2.weight"} <= set(RDN(3, 1, 1, 4, 6).state_dict())


def test_a_dense_block_reads_everything_before_it() -> None:
    block = RDN(2, n_blocks=1, n_layers=3, growth=4, n_feats=6).RDBs[0]
    assert [layer.conv[0].in_channels for layer in block.convs] == [6, 10, 14]
    x = torch.rand(1, 6, 4, 4)
    with torch.no_grad():
        block.LFF.weight.zero_()
        block.LFF.bias.zero_()
    assert torch.equal(block(x), x)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="scale 5 is not one of 2, 3, 4"):
        RDN(5)
