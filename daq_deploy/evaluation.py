"""How close networks come to the truth on benchmark pictures, by the field's protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import DaqError, ModelError
from .image_pairs import ImagePair, ImagePairs
from .metrics import psnr, resize_bicubic, shave, ssim, to_network, to_uint8, y_channel
from .metrics.pixels import Pixels
from .runner import Runner


@dataclass(frozen=True)
class Scores:
    """Figures of one picture, or means over pictures."""

    psnr_y: float
    """PSNR of the luma in dB; infinite for equal pictures."""
    psnr_rgb: float
    """PSNR over red, green and blue in dB."""
    ssim_y: float
    """Structural similarity of the luma, at most 1."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of one network."""

    model: str
    """What the network is called in tables."""
    images: dict[str, Scores]
    """By file name of the truth, in order."""

    @property
    def mean(self) -> Scores:
        """Means over pictures, large and small alike."""
        scores = list(self.images.values())
        return Scores(
            psnr_y=float(np.mean([score.psnr_y for score in scores])),
            psnr_rgb=float(np.mean([score.psnr_rgb for score in scores])),
            ssim_y=float(np.mean([score.ssim_y for score in scores])),
        )


@dataclass(frozen=True)
class Comparison:
    """Networks side by side on the same pictures."""

    pairs: ImagePairs
    evaluations: tuple[Evaluation, ...]

    def convention(self) -> str:
        """Return one line that says how the figures were taken."""
        scale, low_folder = self.pairs.scale, self.pairs.low_folder
        low = f"from {low_folder.name}" if low_folder is not None else "made by MATLAB's bicubic"
        return (
            f"{self.pairs.folder} (images: {len(self.pairs)}), x{scale}, LR {low}; output rounded to 8 bits, "
            f"{scale} border pixels shaved; Y of BT.601 (16..235); SSIM on Y, 11x11 Gaussian window; mean over images"
        )

    def drop(self, evaluation: Evaluation) -> float:
        """Return how many dB of PSNR-Y a network is below the first one."""
        return self.evaluations[0].mean.psnr_y - evaluation.mean.psnr_y

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """Return the table as text, headings first."""
        rows = [("model", "PSNR-Y", "drop", "PSNR-RGB", "SSIM-Y")]
        for evaluation in self.evaluations:
            mean, drop = evaluation.mean, self.drop(evaluation)
            is_first = evaluation is self.evaluations[0]
            rows.append(
                (
                    evaluation.model,
                    f"{mean.psnr_y:.3f}",
                    "" if is_first else f"{drop:.3f}",
                    f"{mean.psnr_rgb:.3f}",
                    f"{mean.ssim_y:.4f}",
                )
            )
        return tuple(rows)

    def to_json(self) -> str:
        """Return everything, every picture included; what is infinite is null."""
        models = [
            {
                "model": evaluation.model,
                "mean": _as_json(evaluation.mean),
                "drop_psnr_y": _finite(self.drop(evaluation)),
                "images": {name: _as_json(scores) for name, scores in evaluation.images.items()},
            }
            for evaluation in self.evaluations
        ]
        document = {
            "convention": self.convention(),
            "data": str(self.pairs.folder),
            "scale": self.pairs.scale,
            "models": models,
        }
        return json.dumps(document, indent=2, allow_nan=False)


class BicubicRunner:
    """Upscale by MATLAB's bicubic: what every network has to beat."""

    value_range = 255.0

    def __init__(self, scale: int) -> None:
        self._scale = scale

    def run(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Upscale a picture (1, 3, H, W) in 0..255 to (1, 3, scale * H, scale * W)."""
        return to_network(resize_bicubic(to_uint8(image, self.value_range), self._scale), self.value_range)


def evaluate(runner: Runner, pairs: ImagePairs, model: str, progress: Callable[[], None] | None = None) -> Evaluation:
    """Run a network on every low-resolution picture and compare with the truth.

    Args:
        runner: the opened network.
        pairs: the pictures.
        model: what the network is called.
        progress: called after every picture.

    Raises:
        DaqError: a picture cannot be read, or the network does not run on it or gives a wrong size or values that are
            not finite; the picture is named.
    """
    images = {}
    for pair in pairs:
        try:
            images[pair.name] = score_pair(runner, pair, pairs.scale)
        except DaqError as error:
            raise type(error)(f"{pair.name}: {model}: {error}") from error
        if progress is not None:
            progress()
    return Evaluation(model, images)


def score_pair(runner: Runner, pair: ImagePair, border: int) -> Scores:
    """Run a network on one low-resolution picture and compare with the truth, `border` pixels at each side left out.

    Raises:
        DaqError: the network does not run on it, or gives a wrong size or values that are not finite.
    """
    output = runner.run(to_network(pair.low, runner.value_range))
    expected = (1, 3, *pair.high.shape[:2])
    if output.shape != expected:
        raise ModelError(f"gives shape {output.shape} where {expected} is the truth; is --scale right?")
    return score(to_uint8(output, runner.value_range), pair.high, border)


def score(found: Pixels, truth: Pixels, border: int) -> Scores:
    """Return the figures of one picture (H, W, 3) against the truth, `border` pixels cut off each side.

    Raises:
        ImageError: what is left is smaller than SSIM's window.
    """
    found, truth = shave(found, border), shave(truth, border)
    found_y, truth_y = y_channel(found), y_channel(truth)
    return Scores(psnr(found_y, truth_y), psnr(found, truth), ssim(found_y, truth_y))


def model_names(paths: list[Path]) -> list[str]:
    """Return what files are called in a table: their names, or paths where two have one name."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _as_json(scores: Scores) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in asdict(scores).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__ = ["BicubicRunner", "Comparison", "Evaluation", "Scores", "evaluate", "model_names", "score", "score_pair"]
