"""What validation found."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Level:
    """One level of proof."""

    number: int
    title: str
    outcome: Outcome
    detail: str
    """What was measured, or why the level was skipped."""


@dataclass(frozen=True)
class CodeDifference:
    """How the codes of one block differ from those of a second implementation on the same feature map."""

    layers: tuple[str, ...]
    """The convolutions that read the block."""
    codes: int
    """Codes compared."""
    ties: int
    """Codes that differ where rounding may differ."""
    wrong: int
    """Codes that differ where they must not."""


@dataclass(frozen=True)
class LayerFidelity:
    """What quantization costs one convolution: signal over quantization noise in dB, None where it is float."""

    name: str
    activation_sqnr: float | None
    """Of the feature map that it reads."""
    weight_sqnr: float | None

    @property
    def worst(self) -> float:
        """The lower of the two."""
        return min(value for value in (self.activation_sqnr, self.weight_sqnr, math.inf) if value is not None)


@dataclass(frozen=True)
class DataScores:
    """PSNR-Y in dB on benchmark pictures."""

    folder: str
    float_psnr_y: float
    daq_psnr_y: float

    @property
    def drop(self) -> float:
        """What quantization costs, in dB."""
        return self.float_psnr_y - self.daq_psnr_y


@dataclass(frozen=True)
class ValidationReport:
    """Everything `daq-deploy validate` prints."""

    model: str
    reference: str
    image: str
    """The picture that the networks ran on."""
    notes: tuple[str, ...]
    levels: tuple[Level, ...]
    codes: tuple[CodeDifference, ...]
    """Level 1, block by block."""
    layers: tuple[LayerFidelity, ...]
    """Level 6, worst first."""
    output_psnr: float
    """PSNR in dB between the outputs of the float and the DAQ network."""
    data: DataScores | None

    @property
    def failures(self) -> tuple[Level, ...]:
        """The levels that failed."""
        return tuple(level for level in self.levels if level.outcome == "failed")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; what is infinite or not a number is None."""
        values: dict[str, Any] = json_ready(asdict(self)) | {"passed": not self.failures}
        return values


def json_ready(value: Any) -> Any:
    """Return a value with every number in it that is infinite or not a number replaced by None."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["CodeDifference", "DataScores", "LayerFidelity", "Level", "Outcome", "ValidationReport", "json_ready"]
