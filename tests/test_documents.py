"""What the documents point at exists: files, commands, options, make targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from daq_deploy.cli import build_app

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md")])
COMMANDS = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]


@pytest.fixture(params=DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_commands_have_the_options_that_are_shown(document: Path) -> None:
    for verb, rest in re.findall(r"daq-deploy ([a-z]+)\b([^`|\n]*)", document.read_text()):
        assert verb in COMMANDS, f"daq-deploy {verb}"
        known = {option for parameter in COMMANDS[verb].params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z0-9-]*", rest)) <= known, f"daq-deploy {verb}{rest}"


def test_make_targets_exist(document: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= known


def test_every_document_is_in_the_index() -> None:
    listed = set(re.findall(r"^([a-z_]+)$", (ROOT / "docs/index.md").read_text(), re.MULTILINE))
    assert {path.stem for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.rst")]} - {"index"} == listed


def test_the_first_table_can_be_measured_again() -> None:
    from daq_deploy.runtime.demo.readme_table import BEGIN, END

    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index(BEGIN) < lines.index(END)
