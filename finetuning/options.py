"""What a training run is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from daq_deploy.errors import OptionError


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is fine-tuned.

    Raises:
        OptionError: a value is out of its range, or both `steps` and `minutes` are given.
    """

    steps: int | None = None
    """Steps of the optimizer; None leaves it to `minutes`, and 2000 where that is None too."""
    minutes: float | None = None
    """Budget: the first steps are timed, and as many are made as fit."""
    batch: int = 16
    """Patches a step, over all processes."""
    patch: int = 64
    """Side of a high-resolution patch in pixels."""
    learning_rate: float = 5e-4
    """Largest learning rate (Adam) of a layer of usual weights; others have one in proportion, steps and tails a multiple."""
    distillation: float = 0.5
    """Share of the float network's output in the target, 0 to 1; the rest is the high-resolution picture."""
    every: int = 200
    """Steps between validations; the run's state is saved at each."""
    patience: int | None = None
    """Validations without a better PSNR after which the run stops; None goes on to the end."""
    seed: int = 0
    """Of the choice of patches."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.minutes is not None:
            raise OptionError("--steps and --minutes: choose one")
        for name in ("steps", "batch", "every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"--{name} {value}: choose 1 or more")
        if self.minutes is not None and not self.minutes > 0:
            raise OptionError(f"--minutes {self.minutes:g}: choose more than 0")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate {self.learning_rate:g}: choose between 0 and 1, such as 1e-4")
        if not 0 <= self.distillation <= 1:
            raise OptionError(f"--distillation {self.distillation:g}: choose 0 to 1")
        if self.seed < 0:
            raise OptionError(f"--seed {self.seed}: choose 0 or more")


__all__ = ["TrainingOptions"]
