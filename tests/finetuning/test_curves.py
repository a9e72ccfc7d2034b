from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from daq_deploy.finetuning import curves


def test_a_panel_for_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = [{"seconds": 60.0 * step, "psnr_y": 30.0 + step} for step in range(3)]
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"history": history}))
    picture = tmp_path / "curves.svg"
    runs = [f"W2A2 <{name}>={tmp_path / name}.json" for name in ("a", "b")]
    monkeypatch.setattr(sys, "argv", ["curves", *runs, "-o", str(picture)])
    curves.main()
    root = ElementTree.parse(picture).getroot()
    lines = [element.get("points") for element in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert lines == [f"0.0,{curves.HEIGHT}.0 130.0,75.0 260.0,0.0"] * 2
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"W2A2 <a>", "W2A2 <b>", "30.00", "32.00", "2 min"} <= set(texts)
