"""Measure the table of README.md again: `python -m daq_deploy.runtime.demo.readme_table --data Set5 README.md`.

The shipped network is exported at several bit-widths, evaluated and benchmarked, by the commands that it shows. The
lines between the two marks in the document are replaced.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from daq_deploy.errors import DaqError, OptionError
from daq_deploy.files import atomic_write

from .commands import daq_deploy, daq_deploy_json

BITS = (8, 4, 3)
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_SECTION = re.compile(f"(?<={BEGIN}\n).*?(?={END})", re.DOTALL)


def measure(checkpoint: Path, data: Path, threads: int) -> str:
    """Return the table in Markdown, one line a model, and a line that says how it was measured."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        models = [folder / "float.onnx", *(folder / f"w{bits}a{bits}.onnx" for bits in BITS)]
        for bits, model in zip(BITS, models[1:], strict=True):
            outputs = ("-o", model, "--float-output", models[0], "--force")
            daq_deploy("export", checkpoint, "--bits", str(bits), *outputs)
        quality = daq_deploy_json("evaluate", *models, "--data", data, "--bicubic")["models"]
        conditions = ("--threads", str(threads), "--size", "320x180")
        native, portable = (
            daq_deploy_json("benchmark", *models, *conditions, kernels) for kernels in ("--native", "--no-native")
        )
    psnr = [model["mean"]["psnr_y"] for model in quality]
    lines = [
        f"| | PSNR-Y {data.name} | file | time, native kernels | time, standard operators |",
        "|---|---|---|---|---|",
        f"| bicubic | {psnr[-1]:.2f} dB | | | |",
    ]
    labels = ["float", *(f"DAQ W{bits}A{bits}" for bits in BITS)]
    float_bytes = native["models"][0]["file_bytes"]
    for label, decibel, *runs in zip(labels, psnr[:-1], native["models"], portable["models"], strict=True):
        drop = f" ({decibel - psnr[0]:+.2f})" if label != "float" else ""
        size = f"{runs[0]['file_bytes'] / 1000:.0f} kB ({runs[0]['file_bytes'] / float_bytes:.2f} x)"
        times = " | ".join(f"{run['timing']['p50']:.0f} ms ({run['timing']['ratio']:.2f} x)" for run in runs)
        lines.append(f"| {label} | {decibel:.2f} dB{drop} | {size} | {times} |")
    instruction_set = native["models"][1]["session"]["instruction_set"] or "none"
    machine = native["machine"]["cpu"]
    return "\n".join(lines) + (
        f"\n\nSize and time in brackets are against float. Time: 320x180 to 640x360 pixels, median of interleaved runs, "
        f"{threads} thread,\nnative kernels {instruction_set}, ONNX Runtime {native['onnxruntime_version']}, {machine}, "
        f"daq-deploy {version('daq-deploy')}.\n"
    )


def main() -> None:
    """Parse the command line, measure and rewrite the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path, help="file with the two marks")
    parser.add_argument("--data", type=Path, required=True, help="a benchmark's folder, with HR/ in it")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        text = options.document.read_text(encoding="utf-8")
        if not _SECTION.search(text):
            raise OptionError(f"{options.document}: needs the lines {BEGIN} and {END}; the table goes between")
        with as_file(files("daq_deploy.models") / "checkpoints" / "edsr_f32b8_x2.safetensors") as checkpoint:
            table = measure(checkpoint, options.data, options.threads)
        with atomic_write(options.document, force=True) as temporary:
            temporary.write_text(_SECTION.sub(lambda _: table, text), encoding="utf-8")
    except DaqError as error:
        print(f"readme_table: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
