"""Commands of daq-deploy, shown and run as a user would run them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


def daq_deploy(*arguments: str | Path) -> None:
    """Show a command and run it; its output goes to the terminal.

    Raises:
        SystemExit: the command failed; it has said why, and its exit code is kept.
    """
    _run(arguments, capture=False)


def daq_deploy_json(*arguments: str | Path) -> Any:
    """Show a command, run it with --json and return what it says.

    Raises:
        SystemExit: as `daq_deploy`.
    """
    return json.loads(_run((*arguments, "--json"), capture=True))


def _run(arguments: tuple[str | Path, ...], capture: bool) -> str:
    command = [str(argument) for argument in arguments]
    print(f"\n$ daq-deploy {shlex.join(command)}", flush=True)
    finished = subprocess.run(  # noqa: S603  our own program, no shell
        [sys.executable, "-m", "daq_deploy", *command],
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise SystemExit(finished.returncode)
    return finished.stdout or ""


__all__ = ["daq_deploy", "daq_deploy_json"]
