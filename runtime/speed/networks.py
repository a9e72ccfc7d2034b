"""The networks of the speed table: real ones from files, and others of published shapes with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from daq_deploy.errors import OptionError
from daq_deploy.runtime.configurations import Network

if TYPE_CHECKING:
    from torch import nn

FILES = ("edsr_f64b5_x2", "srresnet_x4", "rlfn_x4", "rfdn_x4")
"""Names of ONNX files."""
SHAPES = ("edsr_baseline_x2", "edsr_baseline_x4", "rdn_a_x2")
"""Networks with random weights: time depends on shapes alone."""
NAMES = (*SHAPES[:2], *FILES, *SHAPES[2:])


def find_network(name: str, folder: Path) -> Network | None:
    """Return a network of NAMES, or None, and say so, where its file or what builds it is absent.

    Args:
        name: of the network.
        folder: where ONNX files are.
    """
    if name in FILES:
        path = folder / f"{name}.onnx"
        if path.is_file():
            return Network(name, path)
        print(f"{name} is left out: {path} is not there", file=sys.stderr)
        return None
    if find_spec("torch") is None:
        print(f"{name} is left out: torch, which builds it, is not installed", file=sys.stderr)
        return None
    return _with_random_weights(name)


def _with_random_weights(name: str) -> Network:
    import torch
    from safetensors.torch import save_file

    from daq_deploy.exporters.export import export_float
    from daq_deploy.models.edsr import EDSR
    from daq_deploy.models.rdn import RDN, RDN_CONFIGURATIONS

    builders: dict[str, Callable[[], nn.Module]] = {
        "edsr_baseline_x2": lambda: EDSR(2),
        "edsr_baseline_x4": lambda: EDSR(4),
        "rdn_a_x2": lambda: RDN(2, **RDN_CONFIGURATIONS["A"]),
    }
    if name not in builders:
        raise OptionError(f"--networks {name}: choose from {', '.join(NAMES)}")
    # PyTorch's own initial weights: each convolution makes values smaller, and residuals keep them from vanishing.
    torch.manual_seed(0)
    with TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / f"{name}.safetensors"
        save_file(builders[name]().state_dict(), checkpoint)
        return Network(name, export_float(checkpoint).model)


__all__ = ["FILES", "NAMES", "SHAPES", "find_network"]
