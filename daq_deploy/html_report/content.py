"""What a report page shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from daq_deploy.config import DaqConfig
from daq_deploy.diagnosis import Diagnosis
from daq_deploy.evaluation import Scores
from daq_deploy.metrics.pixels import Pixels
from daq_deploy.passes.plan import LayerReport
from daq_deploy.validation import Level

Kind = Literal["original", "bicubic", "float", "daq"]


@dataclass(frozen=True)
class Measured:
    """A network's file and what running it takes."""

    file_bytes: int
    milliseconds: float
    """Median time of a run."""
    time_ratio: float
    """Median, pair by pair, of its time over the float network's."""
    memory_bytes: int | None
    """None where it cannot be measured."""


@dataclass(frozen=True)
class Version:
    """The upscaled picture as one method gives it."""

    name: str
    """What it is called on the page: "bicubic", "float", "4 bits"."""
    kind: Kind
    pixels: Pixels
    """uint8 (H, W, 3); all versions have one size."""
    psnr_to_float: float | None
    """In dB over red, green and blue, both rounded to 8 bits; None for the float picture itself."""
    scores: Scores | None
    """Against the original, by the field's protocol; None where there is no original."""
    measured: Measured | None
    """None for what no network made."""


@dataclass(frozen=True)
class ChannelRanges:
    """The values of a feature map, channel by channel, and the ranges that they are quantized in."""

    minimum: npt.NDArray[np.float32]
    """Smallest value of each channel (C,)."""
    maximum: npt.NDArray[np.float32]
    lo: npt.NDArray[np.float32]
    """Lowest level of each channel (C,)."""
    hi: npt.NDArray[np.float32]
    """Highest level."""
    bottom: float
    """Value at which the lowest bin begins."""
    top: float
    """Value at which the highest bin ends."""
    density: npt.NDArray[np.uint8]
    """0..15, (C, bins): logarithm of the share of a channel's values that lies in the bin. Values outside bottom..top
    count in the bins at the ends."""


@dataclass(frozen=True)
class DaqNetwork:
    """One DAQ file, layer by layer."""

    name: str
    """That of its version."""
    file: str
    """Name of the file, without its folder."""
    sha256: str
    config: DaqConfig
    layers: tuple[LayerReport, ...]
    """In execution order."""
    diagnosis: Diagnosis
    ranges: tuple[ChannelRanges | None, ...]
    """Of what each layer reads; None where that is left float."""
    checks: tuple[Level, ...]
    """The levels of proof that were run."""


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page."""

    network: str
    """Name of the float file, without folder and suffix."""
    picture: str
    """Where the picture is from: "photo.png, 320x240 pixels"."""
    scale: int
    versions: tuple[Version, ...]
    """The original, if there is one, then bicubic, float, and DAQ."""
    networks: tuple[DaqNetwork, ...]
    """In the order of their versions."""
    score_convention: str | None
    """How PSNR and SSIM against the original were taken."""
    conditions: str
    """What time and memory were measured on."""
    environment: tuple[tuple[str, str], ...]
    """Names and values: processor, versions, files."""


__all__ = ["ChannelRanges", "DaqNetwork", "Kind", "Measured", "ReportContent", "Version"]
