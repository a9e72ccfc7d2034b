"""The network that ships: it loads from the installed package and is as good as its model card says."""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

from daq_deploy.evaluation import evaluate
from daq_deploy.exporters.export import ExportedModel, export_float
from daq_deploy.image_pairs import find_image_pairs
from daq_deploy.model_file import model_bytes
from daq_deploy.runtime.images import read_picture
from daq_deploy.runtime.session import Session

CHECKPOINTS = files("daq_deploy.models") / "checkpoints"


@pytest.fixture(scope="module")
def exported() -> ExportedModel:
    with as_file(CHECKPOINTS / "edsr_f32b8_x2.safetensors") as path:
        return export_float(path)


def test_it_is_small() -> None:
    with as_file(CHECKPOINTS / "edsr_f32b8_x2.safetensors") as path:
        assert path.stat().st_size < 1_000_000


def test_its_architecture_is_found(exported: ExportedModel) -> None:
    found = exported.architecture
    assert found.name == "EDSR"
    assert {"scale": 2, "n_resblocks": 8, "n_feats": 32, "mean_shift": True}.items() <= dict(found.parameters).items()


def test_a_flat_colour_stays_what_it_is(exported: ExportedModel) -> None:
    colour = np.array([200, 120, 40], np.float32).reshape(1, 3, 1, 1)
    with Session(model_bytes(exported.model)) as session:
        output = session.run(np.broadcast_to(colour, (1, 3, 40, 40)).copy())
    assert np.abs(output[..., 24:-24, 24:-24] - colour).max() < 4


@pytest.mark.parametrize(("data_set", "column"), [("Set5", 0), ("Set14", 1)])
def test_it_reaches_the_psnr_of_its_model_card(
    exported: ExportedModel, shared_data: Path, data_set: str, column: int
) -> None:
    card = (CHECKPOINTS / "README.md").read_text()
    stated = [float(figure) for figure in re.findall(r"\*\*([\d.]+)\*\*", card)][column]
    pairs = find_image_pairs(shared_data / "images" / data_set, 2, lambda path: read_picture(path).rgb)
    with Session(model_bytes(exported.model)) as session:
        measured = evaluate(session, pairs, "edsr_f32b8_x2").mean.psnr_y
    assert measured == pytest.approx(stated, abs=0.02)
