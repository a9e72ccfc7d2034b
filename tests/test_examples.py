"""The examples of the documents run, in order, and the stable names are those that the package gives."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import edsr, picture
from PIL import Image

import daq_deploy
from daq_deploy import api
from daq_deploy.runtime import report

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "docs/api.md", "docs/format.md")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples speak of: networks, a photograph, benchmark pictures. They are small, and so is calibration."""
    for name in ("model.onnx", "edsr.onnx"):
        onnx.save(edsr(), tmp_path / name)
    nearest = daq_deploy.DaqConfig(weight_rule="nearest", range_rule="paper")
    daq_deploy.quantize(tmp_path / "edsr.onnx", nearest).save(tmp_path / "edsr_daq.onnx")
    (tmp_path / "Set5").mkdir()
    for index in range(2):
        pixels = picture(40, 56)[0].transpose(1, 2, 0).astype(np.uint8)
        Image.fromarray(np.roll(pixels, index, axis=1)).save(tmp_path / "Set5" / f"{index}.png")
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    mosaics = api.synthetic_mosaics()[:1, :, :48, :48]
    monkeypatch.setattr(api, "synthetic_mosaics", lambda: mosaics)
    monkeypatch.setattr(api, "mosaics_of_weights", lambda images, config: images)
    monkeypatch.setattr(report, "measure", partial(report.measure, iterations=2, size=(16, 16)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_run(document: str, folder: Path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    if document == "docs/api.md":
        (folder / "edsr_daq.onnx").unlink()  # the first example makes it
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), namespace)


def test_every_document_with_examples_is_run():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md")]
    with_examples = {str(path.relative_to(ROOT)) for path in documents if "```python" in path.read_text()}
    assert with_examples == set(DOCUMENTS)


def test_the_stable_names_are_listed_and_exist():
    text = (ROOT / "docs/api.md").read_text().partition("## Stable names")[2]
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(daq_deploy.__all__)
    assert set(daq_deploy.__all__) <= set(dir(daq_deploy))
    for name in listed:
        assert getattr(daq_deploy, name).__doc__, name
    reference = (ROOT / "docs/reference.rst").read_text()
    assert set(re.findall(r"^\.\. auto\w+:: (\w+)$", reference, re.MULTILINE)) == set(listed)


def test_importing_the_package_is_quick():
    import subprocess
    import sys

    code = "import sys, daq_deploy; print(','.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(",")
    assert not {"numpy", "onnx", "onnxruntime", "torch", "PIL"} & set(loaded)
