"""What the table of accuracy compares: ways of running a float network at a number of bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx_ir as ir

from daq_deploy.api import quantize
from daq_deploy.calibration import calibration_mosaics
from daq_deploy.calibration.images import PATCH_SIZE, SIDE
from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.errors import OptionError
from daq_deploy.model_file import load_float_model, model_bytes
from daq_deploy.quantization import OPSET, fold
from daq_deploy.runner import Runner

from .baselines import (
    BaselineRunner,
    ClipRule,
    min_max_per_channel,
    min_max_per_tensor,
    mse_per_channel,
    percentile_per_channel,
)
from .images import read_rgb
from .session import Session
from .static_int8 import quantize_static_int8

BITS = (8, 6, 4, 3, 2)
LAYERS = DaqConfig(edges=("head", "tail"))
"""Which layers are quantized, the same for all: every convolution, head, tail and attention at 8 bits."""


@dataclass(frozen=True)
class Network:
    """A float network."""

    name: str
    model: Path | ir.Model

    def to_bytes(self) -> bytes:
        """Return the float model as an ONNX file's bytes."""
        return self.model.read_bytes() if isinstance(self.model, Path) else model_bytes(self.model)

    def folded(self) -> ir.Model:
        """Return a float model of its own that quantization can begin with."""
        model = load_float_model(self.model, OPSET) if isinstance(self.model, Path) else self.model.clone()
        fold(model)
        return model

    @cached_property
    def sha256(self) -> str:
        """Hash of the float model."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def scale(self) -> int:
        """Factor from input to output height and width."""
        with Session(self.to_bytes()) as session:
            return session.scale


class Configuration(Protocol):
    """Turns a float network and bits into something that runs."""

    @property
    def bits(self) -> tuple[int, ...]:
        """Bit-widths it can do."""

    def to_json(self, bits: int) -> str:
        """Return all that the result depends on, beside the network and the versions, as one line."""

    def open(self, network: Network, bits: int, threads: int | None) -> Runner:
        """Quantize and open the network; None leaves the number of threads to ONNX Runtime.

        Raises:
            DaqError: the network cannot be quantized, or there are no pictures to calibrate on.
        """


@dataclass(frozen=True)
class FloatNetwork:
    """The network as it is."""

    bits: tuple[int, ...] = (FLOAT_BITS,)

    def to_json(self, bits: int) -> str:
        return json.dumps({"kind": "float"})

    def open(self, network: Network, bits: int, threads: int | None) -> Runner:
        return Session(network.to_bytes(), threads=threads)


@dataclass(frozen=True)
class DaqFile:
    """A DAQ file, as `daq-deploy quantize` makes it."""

    config: DaqConfig
    calibration: Path | None = None
    bits: tuple[int, ...] = BITS

    def to_json(self, bits: int) -> str:
        pictures = _listing(self.calibration)
        return json.dumps({"kind": "daq", "calibration": pictures, "config": json.loads(self._at(bits).to_json())})

    def open(self, network: Network, bits: int, threads: int | None) -> Runner:
        quantized = quantize(network.model, self._at(bits), calibration=self.calibration)
        return Session(quantized.to_bytes(), threads=threads, native=False)

    def _at(self, bits: int) -> DaqConfig:
        return replace(self.config, weight_bits=bits, activation_bits=bits)


@dataclass(frozen=True)
class Baseline:
    """A range rule of other tools; weights by rule `nearest`."""

    rule: ClipRule
    bits: tuple[int, ...] = BITS

    def to_json(self, bits: int) -> str:
        layers = {"edges": LAYERS.edges, "edge_bits": LAYERS.edge_bits, "attention_bits": LAYERS.attention_bits}
        return json.dumps({"kind": "baseline", "rule": self.rule.__name__, "bits": bits, **layers})

    def open(self, network: Network, bits: int, threads: int | None) -> Runner:
        config = replace(LAYERS, weight_rule="nearest", weight_bits=bits, activation_bits=bits)
        return BaselineRunner(network.folded(), config, self.rule, threads)


@dataclass(frozen=True)
class StaticInt8:
    """ONNX Runtime's quantize_static, calibrated on the patches that `--calibration` of DAQ cuts from the folder."""

    calibration: Path
    bits: tuple[int, ...] = (8,)

    def to_json(self, bits: int) -> str:
        return json.dumps({"kind": "onnxruntime static", "calibration": _listing(self.calibration)})

    def open(self, network: Network, bits: int, threads: int | None) -> Runner:
        mosaics = calibration_mosaics(self.calibration, network.scale, read_rgb)
        grid = mosaics.reshape(len(mosaics), 3, SIDE, PATCH_SIZE, SIDE, PATCH_SIZE)
        patches = grid.transpose(0, 2, 4, 1, 3, 5).reshape(-1, 3, PATCH_SIZE, PATCH_SIZE)
        model = network.folded()
        value_range = np.float32(model.metadata_props.get("daq.value_range", "255"))
        return Session(quantize_static_int8(model, patches * (value_range / np.float32(255))), threads=threads)


def configurations(calibration: Path) -> Mapping[str, Configuration]:
    """Return what is compared, by name, in the order of the table.

    `-nearest` is a rule of activations with weights by rule `nearest`; without it both follow the rule of that name.

    Args:
        calibration: folder of pictures for those that calibrate on pictures.

    Raises:
        OptionError: there is no such folder.
    """
    if not calibration.is_dir():
        raise OptionError(f"--data: {calibration} is missing; it holds the pictures to calibrate on")
    return {
        "deploy-mixed-calibration": DaqFile(replace(LAYERS, mixed=True), calibration, bits=(6, 4, 3)),
        "deploy-calibration": DaqFile(LAYERS, calibration),
        "deploy": DaqFile(LAYERS),
        "paper": DaqFile(replace(LAYERS, range_rule="paper", weight_rule="paper")),
        "paper-nearest": DaqFile(replace(LAYERS, range_rule="paper", weight_rule="nearest")),
        "reference": DaqFile(replace(LAYERS, range_rule="reference", weight_rule="paper")),
        "reference-nearest": DaqFile(replace(LAYERS, range_rule="reference", weight_rule="nearest")),
        "min-max-tensor": Baseline(min_max_per_tensor),
        "min-max-channel": Baseline(min_max_per_channel),
        "percentile-channel": Baseline(percentile_per_channel),
        "mse-channel": Baseline(mse_per_channel),
        "onnxruntime-static": StaticInt8(calibration),
    }


def _listing(folder: Path | None) -> str | None:
    """Return a hash of the names and sizes of a folder's files, None without a folder."""
    if folder is None:
        return None
    files = sorted((path.name, path.stat().st_size) for path in folder.iterdir())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


__all__ = [
    "BITS",
    "LAYERS",
    "Baseline",
    "Configuration",
    "DaqFile",
    "FloatNetwork",
    "Network",
    "StaticInt8",
    "configurations",
]
