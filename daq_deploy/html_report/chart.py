"""The chart of layers as inline SVG: what each one costs, and its bits, one column a layer in execution order.

Positions are percentages, so that it fills any width with text of one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from daq_deploy.config import FLOAT_BITS
from daq_deploy.passes.plan import LayerReport

from .content import DaqNetwork

HEIGHT = 210
"""Height of the panel of errors, in pixels."""
STRIP_HEIGHT = 34
_TEXT_COLUMNS = 20
"""Most columns that leave room for a number in each."""
_MARKERS = ("circle", "square", "triangle", "diamond")


def error_panel(networks: Sequence[DaqNetwork]) -> Markup:
    """Return the panel that shows, for each network and layer, the PSNR of the output with this layer alone quantized."""
    columns = len(networks[0].layers)
    curves = [_curve(network) for network in networks]
    finite = [value for curve in curves for value in curve if value is not None]
    low, high, ticks = _axis(finite)
    heights = [_y(tick, low, high) for tick in ticks]
    parts = [f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>' for y in heights]
    parts += [
        f'<text class="tick" x="2" y="{y - 3:.1f}">{tick:g} dB</text>' for tick, y in zip(ticks, heights, strict=True)
    ]
    parts.append(_highlight(HEIGHT))
    for index, curve in enumerate(curves):
        points = [
            (_x(column, columns), _y(value, low, high)) for column, value in enumerate(curve) if value is not None
        ]
        group = [
            f'<line x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}"/>'
            for (x1, y1), (x2, y2) in pairwise(points)
        ]
        group += [_marker(index, x, y) for x, y in points]
        parts.append(f'<g class="series s{index % 8}" data-series="{index}">{"".join(group)}</g>')
    parts += _targets(networks[0].layers, HEIGHT)
    label = "Output PSNR in dB with one layer alone quantized, for each layer in execution order"
    return _svg(HEIGHT, label, parts)


def bit_strip(network: DaqNetwork, series: int) -> Markup:
    """Return a strip of two rows: bits of each layer's weights above, of the feature map it reads below."""
    columns = len(network.layers)
    width = 100 / columns
    parts = []
    for column, layer in enumerate(network.layers):
        channels = layer.channel_bits
        activation = layer.activation_bits if channels is None else sum(channels) / len(channels)
        for row, bits in enumerate((layer.weight_bits, activation)):
            y = row * STRIP_HEIGHT / 2
            kind = "float" if bits == FLOAT_BITS else f"bits{max(2, min(8, round(bits)))}"
            parts.append(
                f'<rect class="cell {kind}" x="{column * width:.2f}%" y="{y:g}" width="{width:.2f}%" '
                f'height="{STRIP_HEIGHT / 2:g}"/>'
            )
            if columns <= _TEXT_COLUMNS:
                text = "f" if bits == FLOAT_BITS else f"{bits:.2g}"
                parts.append(f'<text class="{kind}" x="{_x(column, columns):.2f}%" y="{y + 12.5:g}">{text}</text>')
    parts.append(_highlight(STRIP_HEIGHT))
    parts += _targets(network.layers, STRIP_HEIGHT)
    return _svg(STRIP_HEIGHT, f"Bits of each layer, {network.name}: weights above, feature maps below", parts)


def marker_sample(series: int) -> Markup:
    """Return the marker of a series, for the legend."""
    return Markup(  # noqa: S704  numbers only
        f'<svg class="sample" width="14" height="14" aria-hidden="true"><g class="series s{series % 8}">'
        f"{_marker(series, 50, 7)}</g></svg>"
    )


def _svg(height: int, label: str, parts: Sequence[str]) -> Markup:
    body = "".join(parts)  # made here of numbers and escaped names
    return Markup(  # noqa: S704
        f'<svg class="plot" role="img" aria-label="{escape(label)}" width="100%" height="{height}">{body}</svg>'
    )


def _highlight(height: int) -> str:
    return f'<rect class="picked" x="0" y="0" width="0" height="{height}"/>'


def _targets(layers: Sequence[LayerReport], height: int) -> list[str]:
    """Return invisible columns that can be pointed at."""
    width = 100 / len(layers)
    return [
        f'<rect class="target" data-layer="{column}" x="{column * width:.2f}%" y="0" width="{width:.2f}%" '
        f'height="{height}"><title>{escape(layer.name)}</title></rect>'
        for column, layer in enumerate(layers)
    ]


def _curve(network: DaqNetwork) -> list[float | None]:
    """Return the output PSNR of each layer; None where nothing of it is quantized or its output is not finite."""
    found = {layer.report.name: layer.output_psnr for layer in network.diagnosis.layers}
    values = [found.get(layer.name) for layer in network.layers]
    return [value if value is not None and math.isfinite(value) else None for value in values]


def _axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Return the ends of the axis and its ticks."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    step = next((step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 4), 100)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    ticks = [float(tick * step) for tick in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks


def _x(column: int, columns: int) -> float:
    return 100 * (column + 0.5) / columns


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - 8 - (HEIGHT - 26) * (value - low) / (high - low)


def _marker(series: int, x: float, y: float) -> str:
    """Return a marker; shapes differ too, for those who cannot tell the colours apart."""
    shape = _MARKERS[series % len(_MARKERS)]
    if shape == "circle":
        return f'<circle cx="{x:.2f}%" cy="{y:.1f}" r="4"/>'
    if shape == "square":
        return f'<rect x="{x:.2f}%" y="{y - 3.5:.1f}" width="7" height="7" transform="translate(-3.5 0)"/>'
    path = "M0 -5 L4.6 3.4 L-4.6 3.4 Z" if shape == "triangle" else "M0 -5 L5 0 L0 5 L-5 0 Z"
    return f'<svg x="{x:.2f}%" y="{y:.1f}" overflow="visible"><path d="{path}"/></svg>'


__all__ = ["bit_strip", "error_panel", "marker_sample"]
