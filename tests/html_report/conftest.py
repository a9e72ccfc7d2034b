"""A page's content made by hand: a small picture in four versions and two networks of three layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daq_deploy.config import DaqConfig
from daq_deploy.diagnosis import Diagnosis, LayerDiagnosis
from daq_deploy.evaluation import Scores
from daq_deploy.html_report import ChannelRanges, DaqNetwork, Measured, ReportContent, Version
from daq_deploy.passes.plan import LayerReport
from daq_deploy.validation import Level

HEIGHT, WIDTH = 48, 64


def picture(noise: float = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Waves with something on top, uint8 (height, width, 3)."""
    y, x, channel = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    waves = 127 + 90 * np.sin(0.2 * x + 0.13 * y * (channel + 1))
    rough = np.random.default_rng(5).normal(0, noise, waves.shape) if noise else 0
    return np.clip(np.rint(waves + rough), 0, 255).astype(np.uint8)


def ranges(channels: int = 6) -> ChannelRanges:
    edge = np.arange(1, channels + 1, dtype=np.float32)
    density = np.tile(np.arange(16, dtype=np.uint8), (channels, 3))
    return ChannelRanges(-edge, edge, -0.5 * edge, 0.75 * edge, float(-channels), float(channels), density)


def network(bits: int) -> DaqNetwork:
    reports = tuple(
        LayerReport(
            name, role, 8 if role != "body" else bits, 32 if role == "head" else bits, True, (6, 6, 3, 3), reason
        )
        for name, role, reason in (
            ("head", "head", "activations as they are: reads the picture"),
            ("body.0", "body", ""),
            ("tail", "tail", ""),
        )
    )
    errors = (0.01, 8.0 / bits, 1.0 / bits)
    layers = tuple(
        LayerDiagnosis(report, None if report.role == "head" else 20.0, 30.0, error, error / sum(errors))
        for report, error in zip(reports, errors, strict=True)
    )
    return DaqNetwork(
        name=f"{bits} bits",
        file=f"net_w{bits}a{bits}.onnx",
        sha256="0" * 64,
        config=DaqConfig(weight_bits=bits, activation_bits=bits),
        layers=reports,
        diagnosis=Diagnosis("photo.png, 32x24 at its centre", 40.0, 41.0, layers[::-1]),
        ranges=(None, ranges(), ranges()),
        checks=(Level(1, "graph against the numpy oracle", "passed", "100 codes of 2 blocks; 0 differ"),),
    )


def build(original: bool = True) -> ReportContent:
    scores = Scores(30.0, 29.0, 0.9) if original else None

    def version(name: str, kind: str, noise: float, distance: float | None, measured: Measured | None) -> Version:
        own = None if scores is None or kind == "original" else replace(scores, psnr_y=36 - noise)
        return Version(name, kind, picture(noise), distance, own, measured)

    versions = [
        version("bicubic", "bicubic", 6, 31.0, None),
        version("float", "float", 0, None, Measured(9_000_000, 100.0, 1.0, 50_000_000)),
        version("8 bits", "daq", 1, 48.0, Measured(2_300_000, 120.0, 1.2, None)),
        version("2 bits", "daq", 4, 36.0, Measured(800_000, 119.0, 1.19, 60_000_000)),
    ]
    if original:
        versions.insert(0, version("original", "original", 2, None, None))
    return ReportContent(
        network="net",
        picture="photo.png, 32×24 pixels",
        scale=2,
        versions=tuple(versions),
        networks=(network(8), network(2)),
        score_convention="2 border pixels cut" if original else None,
        conditions="input 320x180, one thread",
        environment=(("daq-deploy", "0.1.0"),),
    )


@pytest.fixture
def content() -> ReportContent:
    return build()
