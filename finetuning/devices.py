"""Where a run takes place: a processor, a GPU, several, or several machines."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric

from daq_deploy.errors import ProviderError


def open_fabric(device: str, processes: int) -> Fabric:
    """Return Lightning Fabric, launched; under `torchrun` this process joins the group that it has started.

    Args:
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        processes: one a GPU, or on the CPU; `torchrun` decides where it runs.

    Raises:
        ProviderError: there are not so many GPUs.
    """
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    machines = 1
    if "LOCAL_WORLD_SIZE" in os.environ and "RANK" in os.environ:  # torchrun
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        machines = int(os.environ["WORLD_SIZE"]) // processes
    if accelerator == "cuda" and torch.cuda.device_count() < processes:
        raise ProviderError(f"--device cuda: {torch.cuda.device_count()} GPUs are here, {processes} are asked for")
    strategy = "ddp" if processes * machines > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, devices=processes, num_nodes=machines, strategy=strategy)
    fabric.launch()
    return fabric


__all__ = ["open_fabric"]
