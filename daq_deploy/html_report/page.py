"""Render the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from daq_deploy.validation.report import json_ready

from .chart import bit_strip, error_panel, marker_sample
from .content import ChannelRanges, ReportContent, Version
from .pictures import Window, encode_versions, thumbnail

PAGE_BYTES = 4_800_000
"""What a page takes at most, whatever the picture."""
_TEXT_BYTES = 150_000
"""Set aside for text, style and script."""
_LONGEST_LIST = 60
"""Letters of names in one sentence."""
_MOST_CHANNELS = 128
"""More columns of a heat map could not be told apart."""


def render(content: ReportContent) -> str:
    """Return the page as HTML that loads nothing, below PAGE_BYTES."""
    data = _data(content)
    tables = jinja2.Environment(autoescape=True).from_string("{{ data|tojson }}").render(data=data)
    window, encoded = encode_versions(
        [version.pixels for version in content.versions],
        _worst_error(content.versions),
        PAGE_BYTES - _TEXT_BYTES - len(tables) - _svg_bytes(content),
    )
    height, width = content.versions[0].pixels.shape[:2]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(
        content=content,
        data=data,
        pictures=list(zip(content.versions, encoded, strict=True)),
        infinity=math.inf,
        alt_texts=[_alt_text(version, content) for version in content.versions],
        rows=[_row(version, content) for version in content.versions],
        has_original=any(version.kind == "original" for version in content.versions),
        listed=_listed([network.name for network in content.networks]),
        packed=_packed(content),
        compensating=any(network.config.weight_rule == "deploy" for network in content.networks),
        width=width,
        height=height,
        window=window,
        cut=(window.width, window.height) != (width, height),
        whole=thumbnail(_float_version(content.versions).pixels),
        mark=_mark(window, width, height),
        panel=error_panel(content.networks),
        strips=[bit_strip(network, index) for index, network in enumerate(content.networks)],
        samples=[marker_sample(index) for index in range(len(content.networks))],
        checks=sum(len(network.checks) for network in content.networks),
        failures=sum(level.outcome == "failed" for network in content.networks for level in network.checks),
        diagnosed_on=content.networks[0].diagnosis.image,
    )


def _data(content: ReportContent) -> dict[str, Any]:
    """Return what the script reads."""
    return {
        "layers": [
            {"name": layer.name, "role": layer.role, "shape": "x".join(map(str, layer.weight_shape))}
            for layer in content.networks[0].layers
        ],
        "networks": [
            {
                "name": network.name,
                "layers": _layer_figures(network),
                "ranges": [None if ranges is None else _ranges(ranges) for ranges in network.ranges],
            }
            for network in content.networks
        ],
    }


def _layer_figures(network: Any) -> list[dict[str, Any]]:
    found = {layer.report.name: layer for layer in network.diagnosis.layers}
    figures = []
    for layer in network.layers:
        own = found.get(layer.name)
        bits = layer.channel_bits or (layer.activation_bits,)
        values = {
            "weights": layer.weight_bits,
            "activations": round(sum(bits) / len(bits), 1),
            "reason": layer.reason,
            "input_sqnr": None if own is None else own.activation_sqnr,
            "weight_sqnr": None if own is None else own.weight_sqnr,
            "output": None if own is None else own.output_psnr,
            "share": None if own is None else own.share,
        }
        figures.append({key: _short(value) for key, value in json_ready(values).items()})
    return figures


def _ranges(ranges: ChannelRanges) -> dict[str, Any]:
    """Return a heat map: densities as one hexadecimal digit a cell, channel by channel."""
    shown = slice(0, _MOST_CHANNELS)
    return {
        "channels": len(ranges.lo),
        "bins": ranges.density.shape[1],
        "bottom": _short(ranges.bottom),
        "top": _short(ranges.top),
        "density": "".join(f"{level:x}" for level in ranges.density[shown].ravel()),
        **{
            name: [_short(float(value)) for value in getattr(ranges, name)[shown]]
            for name in ("minimum", "maximum", "lo", "hi")
        },
    }


def _short(value: Any) -> Any:
    """Return a number with four significant digits: what a page can show."""
    return float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value


def _svg_bytes(content: ReportContent) -> int:
    return len(error_panel(content.networks)) + sum(len(bit_strip(network, 0)) for network in content.networks)


def _float_version(versions: Sequence[Version]) -> Version:
    return next(version for version in versions if version.kind == "float")


def _worst_error(versions: Sequence[Version]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the squared error (H, W) of the DAQ picture that is furthest from float."""
    truth = _float_version(versions).pixels.astype(np.float64)
    quantized = [version for version in versions if version.kind == "daq"]
    worst = min(quantized, key=lambda version: math.inf if version.psnr_to_float is None else version.psnr_to_float)
    error: np.ndarray[Any, np.dtype[np.float64]] = np.square(worst.pixels - truth).mean(axis=2)
    return error


def _row(version: Version, content: ReportContent) -> dict[str, Any]:
    """Return a row of the table: what each cell sorts by, and None for what has no figure."""
    own = next((network for network in content.networks if network.name == version.name), None)
    measured, scores = version.measured, version.scores
    sizes = _float_version(content.versions).measured
    return {
        "name": version.name,
        "kind": version.kind,
        "file": None if own is None else own.file,
        "bits": None
        if own is None
        else f"W{own.config.weight_bits}A{own.config.activation_bits}" + (" mixed" if own.config.mixed else ""),
        "psnr_y": None if scores is None else scores.psnr_y,
        "ssim_y": None if scores is None else scores.ssim_y,
        "to_float": version.psnr_to_float,
        "kilobytes": None if measured is None else measured.file_bytes / 1000,
        "size_ratio": None if measured is None or sizes is None else measured.file_bytes / sizes.file_bytes,
        "milliseconds": None if measured is None else measured.milliseconds,
        "time_ratio": None if measured is None else measured.time_ratio,
        "megabytes": None if measured is None or measured.memory_bytes is None else measured.memory_bytes / 1e6,
    }


def _alt_text(version: Version, content: ReportContent) -> str:
    how = {
        "original": "the high-resolution original",
        "bicubic": f"upscaled x{content.scale} by bicubic interpolation",
        "float": f"upscaled x{content.scale} by the float network",
        "daq": f"upscaled x{content.scale} by the DAQ network, {version.name}",
    }
    return f"{content.picture}: {how[version.kind]}"


def _listed(names: Sequence[str]) -> str:
    """Return "at 8, 4 and 2 bits" for "8 bits", "4 bits", "2 bits", "as a and b" for other names that are short."""
    word = "as"
    if all(name.endswith(" bits") for name in names):
        word, names = "at", [name.removesuffix(" bits") for name in names[:-1]] + [names[-1]]
    beginning = ", ".join(names[:-1])
    if len(beginning) + len(names[-1]) > _LONGEST_LIST:
        return f"as {len(names)} DAQ files"
    return f"{word} {beginning} and {names[-1]}" if beginning else f"{word} {names[0]}"


def _packed(content: ReportContent) -> str:
    """Return which weights take more room in the file than they have bits: "2-bit and 3-bit", or nothing."""
    widths = {layer.weight_bits for network in content.networks if not network.config.int2 for layer in network.layers}
    return " and ".join(f"{width}-bit" for width in (2, 3) if width in widths)


def _mark(window: Window, width: int, height: int) -> dict[str, float]:
    """Return where the shown part lies in the whole, in percent."""
    return {
        "left": 100 * window.left / width,
        "top": 100 * window.top / height,
        "width": 100 * window.width / width,
        "height": 100 * window.height / height,
    }


__all__ = ["PAGE_BYTES", "render"]
