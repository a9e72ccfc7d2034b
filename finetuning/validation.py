"""PSNR-Y of a network in PyTorch while it trains."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from daq_deploy.evaluation import score_pair
from daq_deploy.image_pairs import ImagePair


class TorchRunner:
    """A network in PyTorch as a `daq_deploy.runner.Runner`."""

    def __init__(self, module: nn.Module, value_range: float, device: torch.device) -> None:
        self._module, self._device = module, device
        self.value_range = value_range

    @torch.inference_mode()
    def run(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Upscale float32 (N, 3, H, W) in 0..value_range."""
        output: npt.NDArray[np.float32] = self._module(torch.from_numpy(image).to(self._device)).cpu().numpy()
        return output


def mean_psnr(runner: TorchRunner, pairs: Iterable[ImagePair], scale: int) -> float:
    """Return the mean PSNR-Y in dB over pictures, by the field's protocol.

    Raises:
        ModelError: an output is not finite.
    """
    return float(np.mean([score_pair(runner, pair, scale).psnr_y for pair in pairs]))


__all__ = ["TorchRunner", "mean_psnr"]
