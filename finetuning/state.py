"""The state of a run: written whole or not at all, so that it can be killed at any moment and go on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from daq_deploy.errors import CheckpointError, OptionError
from daq_deploy.files import atomic_write


@dataclass
class RunState:
    """How far a run is, and what it has found."""

    steps: int | None
    """Of the whole run; None until they are known."""
    identity: str
    """What the run was asked for; another run cannot go on from this state."""
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """The points of all validations."""
    best_psnr: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    """The averaged network at the best validation."""
    since_best: int = 0
    """Validations since then."""
    network: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)

    def record(self, point: dict[str, Any], psnr_y: float, module: nn.Module) -> None:
        """Take note of a validation."""
        self.history.append(point)
        self.since_best += 1
        if psnr_y > self.best_psnr or not self.best:
            self.best_psnr, self.since_best = psnr_y, 0
            self.best = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def is_stalled(self, patience: int | None) -> bool:
        """Return whether so many validations in a row were no better."""
        return patience is not None and self.since_best >= patience

    def save(self, path: Path, module: nn.Module, average: nn.Module, optimizer: Any) -> None:
        """Write the state; what was at `path` stays whole until this is.

        Raises:
            DaqError: it cannot be written, for example since the disk is full.
        """
        self.network, self.average, self.optimizer = module.state_dict(), average.state_dict(), optimizer.state_dict()
        with atomic_write(path, force=True) as temporary:
            torch.save(asdict(self), temporary)

    @classmethod
    def load(cls, path: Path, identity: str) -> RunState:
        """Read a state.

        Raises:
            CheckpointError: there is none, or it is damaged.
            OptionError: it is of a run that was asked for something else.
        """
        if not path.is_file():
            raise CheckpointError(f"--resume: {path}, the state of the run, does not exist; start without --resume")
        try:
            state = cls(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
            raise CheckpointError(f"--resume: {path} is damaged; start without --resume") from error
        if state.identity != identity:
            raise OptionError(
                f"--resume: {path} is of a run with other options, weights or pictures; give the same ones"
            )
        return state

    def restore(self, module: nn.Module, average: nn.Module, optimizer: Any) -> None:
        """Put the network, its average and the optimizer where they were."""
        module.load_state_dict(self.network)
        average.load_state_dict(self.average)
        optimizer.load_state_dict(self.optimizer)


__all__ = ["RunState"]
