"""DAQ files in several ONNX Runtimes, each in an environment of its own: `make test-ort-versions`.

The shipped network at W8A8 and W4A4 runs as a portable file, as the same file with the native library registered, and as a
fused file; each output is compared with that of the project's own environment. Not part of the test suite, since it downloads
packages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

VERSIONS = ("1.20.1", "1.23.2", "1.27.0", "1.32.0")
"""The oldest that is supported, two between, and the newest."""
LEAST_PSNR = {8: 55.0, 4: 50.0}
"""dB against the largest pixel value, by bits. Sums in another order move a value across a rounding boundary now and then,
and every layer carries it on: one ONNX Runtime reaches 62 dB at 8 bits and 58 at 4 between its own optimization levels.
"""
SIZE = (90, 120)
RUN_MODEL = Path(__file__).with_name("run_model.py")


def environment(version: str, folder: Path) -> Path:
    """Return the Python of a virtual environment that holds NumPy and this ONNX Runtime, made where it is not there yet."""
    python = folder / version / "bin" / "python"
    if not (folder / version / "complete").exists():
        venv.create(folder / version, with_pip=True, clear=True)
        packages = [f"onnxruntime=={version}", f"numpy=={np.__version__}"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / version / "complete").touch()
    return python


def write_models(folder: Path) -> dict[tuple[int, str], list[Path]]:
    """Write the files; return what run_model.py is given, by bits and the name of the way of running.

    Weights are rounded to the nearest: choosing them by running the network takes minutes and changes no operation.
    """
    from daq_deploy import DaqConfig, models
    from daq_deploy.exporters.export import export_float
    from daq_deploy.fusion import fuse
    from daq_deploy.quantization import quantize as quantize_graph
    from daq_deploy.runtime.library import library_path

    (checkpoint,) = (
        path for part in models.__path__ for path in Path(part).glob("checkpoints/edsr_f32b8_x2.safetensors")
    )
    network = export_float(checkpoint).model
    library = library_path()
    if library is None:
        print("without the native library: only portable files are run")
    ways: dict[tuple[int, str], list[Path]] = {}
    for bits in LEAST_PSNR:
        portable = folder / f"portable_w{bits}a{bits}.onnx"
        config = replace(DaqConfig.of_profile("deploy", bits=bits), weight_rule="nearest")
        quantize_graph(network, config).save(portable, force=True)
        ways[bits, "portable"] = [portable]
        if library is not None:
            fused = folder / f"fused_w{bits}a{bits}.onnx"
            fuse(portable).save(fused, force=True)
            ways[bits, "portable, library registered"] = [portable, library]
            ways[bits, "fused"] = [fused, library]
    return ways


def run(python: Path | str, arguments: Sequence[Path], image: Path, output: Path) -> np.ndarray:
    """Run a model in an environment and return its output.

    Raises:
        subprocess.CalledProcessError: it cannot run there; the message is in `stderr`.
    """
    subprocess.run(
        [python, "-I", RUN_MODEL, image, output, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return np.load(output)


def psnr(first: np.ndarray, second: np.ndarray, largest: float = 255.0) -> float:
    error = float(np.mean((first.astype(np.float64) - second) ** 2))
    return float(np.inf) if error == 0 else 10 * np.log10(largest**2 / error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and files")
    parser.add_argument("--versions", default=",".join(VERSIONS), help="of ONNX Runtime; default %(default)s")
    options = parser.parse_args()
    from daq_deploy.runtime.synthetic import smooth_image

    folder = options.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    image, output = folder / "image.npy", folder / "output.npy"
    np.save(image, smooth_image(*SIZE))
    ways = write_models(folder)
    expected = {way: run(sys.executable, arguments, image, output) for way, arguments in ways.items()}
    passed = failed = 0
    for bits, way in ways:
        distance = psnr(expected[bits, way], expected[bits, "portable"])
        print(f"onnxruntime {onnxruntime.__version__} here, W{bits}A{bits}, {way}, against portable: {distance:.1f} dB")
    for version in options.versions.split(","):
        python = environment(version, folder)
        for (bits, way), arguments in ways.items():
            try:
                distance = psnr(run(python, arguments, image, output), expected[bits, way])
                verdict, good = f"{distance:.1f} dB", distance >= LEAST_PSNR[bits]
            except subprocess.CalledProcessError as error:
                verdict, good = (error.stderr.decode().strip().splitlines() or ["no message"])[-1], False
            passed, failed = passed + good, failed + (not good)
            print(f"{'passed' if good else 'FAILED'}: onnxruntime {version}, W{bits}A{bits}, {way}: {verdict}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
