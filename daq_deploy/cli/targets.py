"""Quantize as asked, or at the bits that keep to a target, and say which these are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daq_deploy.errors import OptionError

if TYPE_CHECKING:
    import onnx_ir as ir

    from daq_deploy.config import DaqConfig
    from daq_deploy.quantization import Quantized

_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}


def check_targets(
    target_drop: float | None, target_size: str | None, weight_bits: int | None, activation_bits: int | None
) -> None:
    """Raise OptionError where a target and the options it finds are both given, or a target is none."""
    if target_drop is not None and target_size is not None:
        raise OptionError("--target-drop and --target-size: choose one")
    if target_drop is not None and (weight_bits is not None or activation_bits is not None):
        raise OptionError("--target-drop finds the bits: leave --weight-bits and --activation-bits out")
    if target_size is not None and weight_bits is not None:
        raise OptionError("--target-size finds the weight bits: leave --weight-bits out")
    if target_drop is not None and not target_drop > 0:
        raise OptionError(f"--target-drop {target_drop:g}: give decibels above 0")
    if target_size is not None:
        _bytes(target_size)


def quantize_as_asked(
    model: Path | ir.Model, config: DaqConfig, target_drop: float | None, target_size: str | None, **options: Any
) -> Quantized:
    """Quantize; where there is a target, print on stderr what it took.

    Args:
        model: as for `daq_deploy.quantize`.
        config: what is asked beside the target.
        target_drop: most dB of PSNR-Y to lose.
        target_size: most bytes of the file, as it was given.
        **options: as for `daq_deploy.quantize`.
    """
    import typer

    from daq_deploy.api import quantize, quantize_to_drop, quantize_to_size

    if target_drop is not None:
        taken, made = quantize_to_drop(model, config, most_drop=target_drop, **options)
        tried = ", ".join(
            f"{attempt.bits} bits {attempt.measured:.3f}" for attempt in sorted(made, key=lambda a: a.bits)
        )
        pictures = options["calibration"] or "drawn pictures"
        typer.echo(f"--target-drop {target_drop:g}: {taken.bits} bits. dB lost on {pictures}: {tried}", err=True)
        return taken.quantized
    if target_size is not None:
        taken = quantize_to_size(model, config, most_bytes=_bytes(target_size), **options)
        typer.echo(f"--target-size {target_size}: {taken.bits}-bit weights, {taken.measured / 1000:.1f} kB", err=True)
        return taken.quantized
    return quantize(model, config, **options)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text)
    if found is None or float(found[1]) == 0:
        raise OptionError(f"--target-size {text}: give bytes, such as 250000, 250k or 1.5M")
    return int(float(found[1]) * _FACTORS[found[2]])


__all__ = ["check_targets", "quantize_as_asked"]
