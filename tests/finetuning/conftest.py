from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from daq_deploy.models.edsr import EDSR


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pictures, one of them in a folder of its own."""
    from daq_deploy.calibration import drawn_picture

    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for seed in range(18):
        place = folder / "more" if seed == 3 else folder
        Image.fromarray(np.ascontiguousarray(drawn_picture(100, seed))).save(place / f"{seed:02}.png")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that is far from trained, so that every step of training shows."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "edsr.pt"
    torch.save(EDSR(2, n_resblocks=1, n_feats=8).state_dict(), path)
    return path
