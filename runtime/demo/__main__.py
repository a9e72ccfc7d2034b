"""The main job on what ships: the network to 4 bits, checked, and a picture upscaled, by commands that are shown.

    python -m daq_deploy.runtime.demo -o demo_output

The picture is halved by bicubic first, so that what the networks make of it can be compared with the original.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import as_file, files
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from daq_deploy.errors import DaqError
from daq_deploy.files import atomic_write
from daq_deploy.metrics.resize import resize_bicubic
from daq_deploy.runtime.demo.commands import daq_deploy, daq_deploy_json
from daq_deploy.runtime.demo.side_by_side import Version, side_by_side
from daq_deploy.runtime.images import Picture, read_picture, write_picture

SCALE = 2
DETAIL = (216, 102)
"""Left and top of the part that is shown enlarged: the name over the door, a window, bricks."""


def run(checkpoint: Path, original: Path, folder: Path) -> None:
    """Do the whole job and write everything into `folder`.

    Raises:
        DaqError: the folder cannot be written to.
        SystemExit: a command failed; it has said why, and its exit code is kept.
    """
    high_folder, low_folder = folder / "pictures" / "HR", folder / "pictures" / f"LRx{SCALE}"
    for needed in (high_folder, low_folder):
        needed.mkdir(parents=True, exist_ok=True)
    high = read_picture(original).rgb
    low = resize_bicubic(high, 1 / SCALE)
    low_path = low_folder / f"boathousex{SCALE}.png"
    write_picture(high_folder / "boathouse.png", Picture(high), force=True)
    write_picture(low_path, Picture(low), force=True)
    bicubic = resize_bicubic(low, SCALE)
    write_picture(folder / "upscaled_bicubic.png", Picture(bicubic), force=True)

    models = {"float": folder / "edsr_float.onnx", "DAQ 4 bit": folder / "edsr_daq.onnx"}
    upscaled = {"float": folder / "upscaled_float.png", "DAQ 4 bit": folder / "upscaled_daq.png"}
    daq_deploy(
        "export", checkpoint, "--bits", "4", "-o", models["DAQ 4 bit"], "--float-output", models["float"], "--force"
    )
    daq_deploy("validate", models["DAQ 4 bit"], "--reference", checkpoint)
    for name, model in models.items():
        daq_deploy("upscale", low_path, "--model", model, "-o", upscaled[name], "--force")
    quality = daq_deploy_json("evaluate", *models.values(), "--data", folder / "pictures", "--bicubic")
    speed = daq_deploy_json("benchmark", *models.values(), "--input", low_path)
    page, pictures = folder / "report.html", ("--image", low_path, "--reference", high_folder / "boathouse.png")
    daq_deploy("report", *models.values(), *pictures, "-o", page, "--force")

    psnr = [f"{model['mean']['psnr_y']:.2f} dB" for model in quality["models"]]
    sizes = [f"{model['file_bytes'] / 1000:,.0f} kB" for model in speed["models"]]
    times = [f"{model['timing']['p50']:.1f} ms" for model in speed["models"]]
    names = list(models)
    height, width = low.shape[:2]
    table = Table(title=f"{width}x{height} to {SCALE * width}x{SCALE * height} pixels, CPU")
    table.add_column("")
    for heading in ("PSNR-Y", "file", "median time"):
        table.add_column(heading, justify="right")
    table.add_row("bicubic", psnr[2], "", "")
    for row in zip(names, psnr, sizes, times, strict=False):
        table.add_row(*row)
    sheet = side_by_side(
        [
            Version("bicubic", psnr[2], bicubic),
            *(
                Version(name, f"{decibel}, {size}", read_picture(upscaled[name]).rgb)
                for name, decibel, size in zip(names, psnr, sizes, strict=False)
            ),
            Version("original", "before halving", high),
        ],
        high,
        *DETAIL,
    )
    _save(sheet, folder / "side_by_side.png")
    console = Console(highlight=False)
    console.print()
    console.print(table)
    console.print(
        f"Look at [bold]{folder / 'side_by_side.png'}[/bold], and open [bold]{page}[/bold] in a browser; "
        f"everything is in {folder}:",
        soft_wrap=True,
    )
    for path in sorted(folder.iterdir()):
        console.print(f"  {path.name}{'/' if path.is_dir() else ''}")


def _as_short(path: Path) -> Path:
    """Return a path as a user in this folder would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _save(sheet: Image.Image, path: Path) -> None:
    with atomic_write(path, force=True) as temporary:
        sheet.save(temporary, optimize=True)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m daq_deploy.runtime.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="folder to write into")
    folder = parser.parse_args().output
    if folder.exists() and not folder.is_dir():
        parser.error(f"--output {folder}: is a file; name a folder")
    shipped = files("daq_deploy.models") / "checkpoints" / "edsr_f32b8_x2.safetensors"
    try:
        with as_file(shipped) as checkpoint, as_file(files(__package__) / "picture.png") as original:
            run(_as_short(checkpoint), original, folder)
    except DaqError as error:
        print(f"daq-deploy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
