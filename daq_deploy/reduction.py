"""Find the few layers that must be left float so that a quantized network meets a quality gate.

1  quantize everything; where the gate is met nothing else is done
2  order the layers by what each costs alone at the output, weights rounded to the nearest: calibrated weights also
   correct for the quantization of other layers, which is an error where those are float
3  bisect on how many of the worst to leave float, nothing calibrated, what calibration gains taken to be what it gains
   where everything is quantized
4  from there, bisect again with calibration, as asked for: what is returned was quantized and run so

Bisection takes for granted that leaving more layers float does not make the output worse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .calibration import Progress
from .calibration.lockstep import Executor
from .config import DaqConfig
from .diagnosis import LayerDiagnosis, diagnose, output_psnr, psnr_of
from .errors import CheckFailed
from .evaluation import evaluate
from .image_pairs import ImagePairs
from .inspection import stored_layers
from .quantization import Quantized, quantize
from .runner import Runner
from .validation.report import json_ready


class Quantizer(Protocol):
    """Quantizes the float network by the rules that a configuration asks for, calibration included."""

    def __call__(self, config: DaqConfig, progress: Progress) -> Quantized:
        """Return the DAQ graph."""


@dataclass(frozen=True)
class Gate:
    """What a quantized network has to reach."""

    title: str
    """What is measured, in dB."""
    measure: Callable[[Quantized], float]
    limit: float
    is_least: bool
    """Whether `limit` is the least that is accepted; otherwise it is the most."""

    def is_met(self, figure: float) -> bool:
        """Return whether a figure is accepted; what is not a number is not."""
        return figure >= self.limit if self.is_least else figure <= self.limit


def psnr_gate(
    reference: Runner, open_network: Callable[[Quantized], Runner], image: npt.NDArray[np.float32], limit: float
) -> Gate:
    """Ask that the output on a picture be at least `limit` dB from the float network's, `reference`."""
    return Gate(
        "PSNR to float",
        lambda quantized: output_psnr(open_network(quantized), reference, image),
        limit,
        is_least=True,
    )


def drop_gate(reference: Runner, open_network: Callable[[Quantized], Runner], pairs: ImagePairs, limit: float) -> Gate:
    """Ask that PSNR-Y on benchmark pictures be at most `limit` dB below that of the float network, `reference`."""
    float_psnr = evaluate(reference, pairs, "float").mean.psnr_y

    def drop(quantized: Quantized) -> float:
        return float_psnr - evaluate(open_network(quantized), pairs, "quantized").mean.psnr_y

    return Gate("PSNR-Y drop", drop, limit, is_least=False)


@dataclass(frozen=True)
class Trial:
    """One quantization on the way."""

    left_float: int
    """How many of the worst layers were left float."""
    weight_rule: str
    figure: float
    """What the gate measured, in dB."""
    met: bool


@dataclass(frozen=True)
class FloatLayer:
    """A layer that must be left float."""

    name: str
    output_psnr: float
    """PSNR in dB between the float output and the output where this layer alone is quantized."""
    share: float
    """Of the sum of all layers' output errors, 0 to 1."""
    more_bytes: int
    """By how much the file grows where its weights are left float."""


@dataclass(frozen=True)
class Reduction:
    """What has to be done to meet a gate."""

    gate: str
    limit: float
    trials: tuple[Trial, ...]
    """In order; the first is everything quantized."""
    layers: tuple[FloatLayer, ...]
    """Those to leave float, worst first; none where the gate is met with everything quantized."""
    exclude: str | None
    """The regular expression for `--exclude` that leaves them float, together with those excluded before."""
    figure: float
    """What the gate measures then, in dB."""

    def to_dict(self) -> dict[str, object]:
        """Return everything as JSON-ready values; what is infinite or not a number is None."""
        values: dict[str, object] = json_ready(asdict(self))
        return values


def reduce_network(
    model: ir.Model,
    config: DaqConfig,
    gate: Gate,
    quantizer: Quantizer,
    image: npt.NDArray[np.float32],
    execute: Executor,
    progress: Progress = lambda title, share: None,
) -> Reduction:
    """Find the layers to leave float.

    Args:
        model: the float network; its metadata hold its value range.
        config: what is asked; layers that it leaves float stay so.
        gate: what has to be reached.
        quantizer: quantizes `model`.
        image: float32 (1, C, H, W) in the network's value range; layers are ordered by what they cost on it.
        execute: computes a node of the float network.
        progress: told what is being done, and the share that is done.

    Raises:
        CheckFailed: the gate is not met with a single layer quantized.
        ModelError: as `quantize` and `diagnose`.
    """
    everything = quantizer(config, progress)
    trials = [_trial(gate, everything, 0, config.weight_rule)]
    if trials[0].met:
        return Reduction(gate.title, gate.limit, tuple(trials), (), config.exclude, trials[0].figure)
    rough = _uncalibrated(config)
    alone, gain = everything, 0.0
    if config.needs_pictures:
        alone = quantize(model, rough)
        trials.append(_trial(gate, alone, 0, rough.weight_rule))
        gain = trials[0].figure - trials[1].figure
    candidates = _candidates(diagnose(alone.model, model, image, execute, progress), everything)

    def leaving(asked: DaqConfig, count: int) -> DaqConfig:
        return replace(asked, exclude=_exclude(config.exclude, [layer.name for layer in candidates[:count]]))

    def meets_roughly(count: int) -> bool:
        progress(f"Searching: {count} of {len(candidates)} layers float", 0)
        trials.append(_trial(gate, quantize(model, leaving(rough, count)), count, rough.weight_rule))
        return gate.is_met(trials[-1].figure + gain)

    def meets(count: int) -> bool:
        asked = quantizer(
            leaving(config, count), lambda title, share: progress(f"{title}, {count} layers float", share)
        )
        trials.append(_trial(gate, asked, count, config.weight_rule))
        return trials[-1].met

    start = len(candidates) // 2
    if config.needs_pictures:
        start = _fewest(meets_roughly, len(candidates), start)
    fewest = _fewest(meets, len(candidates), start)
    if fewest == len(candidates):
        best = max if gate.is_least else min
        raise CheckFailed(
            f"{gate.title}: {gate.limit:g} dB is not met with any layer quantized "
            f"(best: {best(trial.figure for trial in trials):.2f} dB); ask for more bits"
        )
    reached = next(trial for trial in reversed(trials) if trial.left_float == fewest and trial.met)
    return Reduction(
        gate.title, gate.limit, tuple(trials), candidates[:fewest], leaving(config, fewest).exclude, reached.figure
    )


def _uncalibrated(config: DaqConfig) -> DaqConfig:
    """Return the configuration that comes nearest to `config` without running anything.

    Its weights hold no corrections of what the quantization of other layers does, so that each layer's own cost is seen.
    """
    weight_rule = "nearest" if config.weight_rule == "deploy" else config.weight_rule
    return replace(config, weight_rule=weight_rule, mixed=False)


def _trial(gate: Gate, quantized: Quantized, left_float: int, weight_rule: str) -> Trial:
    figure = gate.measure(quantized)
    return Trial(left_float, weight_rule, figure, gate.is_met(figure))


def _candidates(diagnoses: tuple[LayerDiagnosis, ...], quantized: Quantized) -> tuple[FloatLayer, ...]:
    """Return the layers worst first; those of one name, which no expression can tell apart, as one."""
    more_bytes: dict[str, int] = {}
    for layer in stored_layers(quantized):
        name = layer.report.name
        if layer.report.quantized and name not in more_bytes:  # layers of one name share their weights
            more_bytes[name] = 4 * math.prod(layer.report.weight_shape) - layer.stored_bytes
    errors, shares = dict.fromkeys(more_bytes, 0.0), dict.fromkeys(more_bytes, 0.0)
    for diagnosis in diagnoses:
        errors[diagnosis.report.name] += diagnosis.output_error
        shares[diagnosis.report.name] += diagnosis.share
    order = dict.fromkeys(diagnosis.report.name for diagnosis in diagnoses)
    return tuple(FloatLayer(name, psnr_of(errors[name]), shares[name], more_bytes[name]) for name in order)


def _exclude(before: str | None, names: list[str]) -> str | None:
    """Return the expression that matches these names, and what was excluded before."""
    if not names:
        return before
    exact = f"^({'|'.join(re.escape(name) for name in names)})$"
    return exact if before is None else f"{before}|{exact}"


def _fewest(meets: Callable[[int], bool], most: int, start: int) -> int:
    """Return by bisection the smallest count that meets the gate; 0 is known not to, `most` is taken to."""
    missed, met, count = 0, most, start
    while met - missed > 1:
        count = min(max(count, missed + 1), met - 1)
        if meets(count):
            met = count
        else:
            missed = count
        count = (missed + met) // 2
    return met


__all__ = ["FloatLayer", "Gate", "Quantizer", "Reduction", "Trial", "drop_gate", "psnr_gate", "reduce_network"]
