"""The training loop: L1 loss, Adam, a warm-up and a cosine, on one device or many.

What is validated and kept is a running average of the weights: with quantizers in place single steps move the output by more
than they improve it, and the average does not.

Lightning Fabric places the network, the processes and the machines; the loop is ours. It is a function of options, weights
and pictures alone, so that a run that was killed and goes on from its saved state gives the numbers of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim.swa_utils import AveragedModel

from daq_deploy.errors import CheckFailed
from daq_deploy.image_pairs import ImagePair

from .network import TrainableNetwork
from .options import TrainingOptions
from .patches import Patches
from .state import RunState
from .validation import TorchRunner, mean_psnr

WARM_UP = 50
"""Steps over which the learning rate grows; with a budget in minutes, the steps that are timed."""

AVERAGING = 0.998
"""Share of the running average that a step leaves as it was, once there are enough of them to average over."""

DEFAULT_STEPS = 2000


@dataclass(frozen=True)
class Point:
    """How far a run is."""

    step: int
    steps: int | None
    """Of the whole run; None while the first ones are timed."""
    loss: float
    """Mean since the last point, in levels of 0..255."""
    seconds: float
    """Since the start, those of interrupted runs included."""
    psnr_y: float | None = None
    """On the validation pictures, where they were just looked at."""

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far."""
        return None if self.steps is None or self.step == 0 else self.seconds / self.step * (self.steps - self.step)


@dataclass
class Training:
    """One run.

    Args:
        fabric: launched.
        network: what trains; it holds the weights of the best validation when `run` is done.
        teacher: the float network.
        patches: training pictures.
        validation: pictures that decide which weights are best.
        scale: of the network.
        options: how.
        identity: of the run, for its state.
        state_path: where the state is saved.
        report: called after each step.
        log: called with tag, value and step, for each curve.
    """

    fabric: Fabric
    network: TrainableNetwork
    teacher: nn.Module
    patches: Patches
    validation: Sequence[ImagePair]
    scale: int
    options: TrainingOptions
    identity: str
    state_path: Path
    report: Callable[[Point], None] = lambda point: None
    log: Callable[[str, float, int], None] = lambda tag, value, step: None

    def run(self, resumed: RunState | None = None) -> list[Point]:
        """Train, and return the points of all validations.

        Args:
            resumed: where to go on.

        Raises:
            CheckFailed: the loss is not finite; says at which step and learning rate. The network then holds the
                weights of the best validation.
        """
        groups = [{"params": group.parameters, "rate": group.rate} for group in self.network.parameter_groups()]
        module, optimizer = self.fabric.setup(self.network.module, torch.optim.Adam(groups, lr=0.0))
        self.teacher.to(self.fabric.device).requires_grad_(False)
        steps = None if self.options.minutes else self.options.steps or DEFAULT_STEPS
        state = resumed or RunState(steps, self.identity)
        average = AveragedModel(self.network.module, avg_fn=_averaged)
        if resumed is not None:
            resumed.restore(self.network.module, average, optimizer)
        else:
            self._validate(state, average, optimizer, 0.0)
        started, seconds_before = time.monotonic(), state.seconds
        total, since = 0.0, 0
        while state.steps is None or state.step < state.steps:
            rate = learning_rate(self.options.learning_rate, state.step, state.steps)
            try:
                loss = self._step(module, optimizer, state.step, rate)
            except CheckFailed:
                self.network.module.load_state_dict(state.best)
                raise
            average.update_parameters(self.network.module)
            state.step += 1
            total, since = total + loss, since + 1
            state.seconds = self.fabric.broadcast(seconds_before + time.monotonic() - started)
            self.log("loss", loss, state.step)
            self.log("learning rate", rate, state.step)
            self.report(Point(state.step, state.steps, total / since, state.seconds))
            if state.steps is None and state.step == WARM_UP:
                state.steps = self._steps_that_fit(state.seconds)
            if state.step % self.options.every == 0 or state.step == state.steps or self._out_of_time(state):
                self._validate(state, average, optimizer, total / since)
                total, since = 0.0, 0
                state.seconds = self.fabric.broadcast(seconds_before + time.monotonic() - started)
                if state.is_stalled(self.options.patience) or self._out_of_time(state):
                    break
        self.network.module.load_state_dict(state.best)
        return [Point(**point) for point in state.history]

    def _step(self, module: nn.Module, optimizer: Any, step: int, rate: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        places = range(self.fabric.global_rank, self.options.batch, self.fabric.world_size)
        factor = self.network.parameters["value_range"] / 255
        low, high = (part.to(self.fabric.device) * factor for part in self.patches.batch(step, places))
        output = module(low)
        loss = l1_loss(output, high) * (1 - self.options.distillation)
        if self.options.distillation:
            with torch.no_grad():
                taught = self.teacher(low.clone())  # some networks overwrite what they read
            loss = loss + l1_loss(output, taught) * self.options.distillation
        loss = loss / factor
        value = float(self.fabric.all_reduce(loss.detach(), reduce_op="mean"))  # type: ignore[arg-type]
        if not math.isfinite(value):
            raise CheckFailed(
                f"the loss is {value} at step {step + 1}, learning rate {rate:.1e}; choose a smaller --learning-rate"
            )
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        optimizer.step()
        self.network.keep_in_range()
        return value

    def _validate(self, state: RunState, average: AveragedModel, optimizer: Any, loss: float) -> None:
        runner = TorchRunner(average.module, self.network.parameters["value_range"], self.fabric.device)
        psnr_y = mean_psnr(runner, self.validation, self.scale)
        point = Point(state.step, state.steps, loss, state.seconds, psnr_y)
        state.record(asdict(point), psnr_y, average.module)
        self.log("PSNR-Y", psnr_y, state.step)
        self.report(point)
        if self.fabric.is_global_zero:
            state.save(self.state_path, self.network.module, average, optimizer)
        self.fabric.barrier()

    def _steps_that_fit(self, seconds: float) -> int:
        assert self.options.minutes is not None
        return max(int(self.options.minutes * 60 / seconds * WARM_UP), WARM_UP)

    def _out_of_time(self, state: RunState) -> bool:
        return self.options.minutes is not None and state.seconds > 60 * self.options.minutes


def _averaged(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    share = min(AVERAGING, (1 + int(steps)) / (10 + int(steps)))
    return torch.lerp(current, average, share)


def learning_rate(largest: float, step: int, steps: int | None) -> float:
    """Return the learning rate of a step: up over WARM_UP steps, then half a cosine down to a hundredth."""
    if step < WARM_UP:
        return largest * (step + 1) / WARM_UP
    assert steps is not None
    share = (step - WARM_UP) / max(steps - WARM_UP, 1)
    return largest * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


__all__ = ["AVERAGING", "DEFAULT_STEPS", "WARM_UP", "Point", "Training", "learning_rate"]
