from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from daq_deploy.cli import build_app


def test_version_needs_no_verb() -> None:
    result = CliRunner().invoke(build_app(), ["--version"])
    assert result.exit_code == 0
    assert result.output == f"daq-deploy {version('daq-deploy')}\n"
