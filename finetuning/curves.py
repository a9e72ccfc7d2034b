"""Draw the curves of runs: `python -m daq_deploy.finetuning.curves NAME=run.json ... -o curves.svg`.

A run is what `daq-deploy finetune --json` printed. PSNR-Y on its validation pictures over the minutes it took; each run has a
panel of its own, since pictures and networks differ.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment

WIDTH, HEIGHT, LEFT, TOP, GAP = 260, 150, 46, 26, 64

_PICTURE = Environment(autoescape=True).from_string(
    """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ full_width }} 216" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
{% for panel in panels %}<g transform="translate({{ panel.x }} {{ top }})">
<text y="-10" font-size="13">{{ panel.name }}</text>
<path d="M0 0V{{ height }}H{{ width }}" fill="none" stroke="#888888"/>
{% for tick in panel.ticks %}<path d="M0 {{ tick.y }}H{{ width }}" stroke="#e4e4e4"/>
<text x="-6" y="{{ tick.y + 4 }}" text-anchor="end">{{ tick.label }}</text>
{% endfor %}<polyline points="{{ panel.points }}" fill="none" stroke="#1f5fbf" stroke-width="2"/>
<text x="0" y="{{ height + 16 }}">0</text>
<text x="{{ width }}" y="{{ height + 16 }}" text-anchor="end">{{ panel.minutes }} min</text>
</g>
{% endfor %}<text x="6" y="210">PSNR-Y on held-out training pictures, dB, over minutes of training</text>
</svg>
"""
)


def draw(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return an SVG picture of the histories of runs, by name."""
    panels = []
    for index, (name, history) in enumerate(runs.items()):
        lowest, highest = (limit(point["psnr_y"] for point in history) for limit in (min, max))
        minutes, span = history[-1]["seconds"] / 60 or 1.0, highest - lowest or 1.0

        def height_of(psnr: float, lowest: float = lowest, span: float = span) -> float:
            return round(HEIGHT * (1 - (psnr - lowest) / span), 1)

        points = " ".join(
            f"{WIDTH * point['seconds'] / 60 / minutes:.1f},{height_of(point['psnr_y'])}" for point in history
        )
        levels = (lowest, (lowest + highest) / 2, highest)
        panels.append(
            {
                "name": name,
                "x": LEFT + index * (WIDTH + GAP),
                "points": points,
                "ticks": [{"y": height_of(level), "label": f"{level:.2f}"} for level in levels],
                "minutes": f"{minutes:.0f}",
            }
        )
    full_width = LEFT + len(runs) * (WIDTH + GAP)
    return _PICTURE.render(panels=panels, full_width=full_width, width=WIDTH, height=HEIGHT, top=TOP)


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=run.json")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    named = dict(run.rsplit("=", 1) for run in arguments.runs)
    histories = {name: json.loads(Path(path).read_text())["history"] for name, path in named.items()}
    arguments.output.write_text(draw(histories))


if __name__ == "__main__":
    main()
