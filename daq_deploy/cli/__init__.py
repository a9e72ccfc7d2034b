"""The command line: one thin function a verb, each in its own file, heavy imports inside it.

Exit codes: 0 done; 1 everything ran and a check was not met; 2 bad input or option; 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys

import typer

from daq_deploy.errors import DaqError

VERBS = (
    "export",
    "quantize",
    "finetune",
    "validate",
    "evaluate",
    "benchmark",
    "upscale",
    "freeze",
    "inspect",
    "reduce",
    "report",
    "fuse",
    "doctor",
)


def build_app() -> typer.Typer:
    """Return the application with every verb registered under its module's name."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        help="Make a super-resolution network small and fast at 2 to 8 bits, without training, and prove it stays good.",
        epilog="Exit codes: 0 done, 1 a check was not met, 2 bad input or option, 130 interrupted.",
    )
    for verb in VERBS:
        module = importlib.import_module(f"daq_deploy.cli.{verb}")
        app.command(name=verb)(getattr(module, verb))
    app.callback()(_root)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"daq-deploy {version('daq-deploy')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", is_eager=True, callback=_print_version
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; an error the user can cause is one line on stderr and its exit code."""
    try:
        build_app()()
    except DaqError as error:
        typer.echo(f"daq-deploy: {error}", err=True)
        sys.exit(error.exit_code)


__all__ = ["VERBS", "build_app", "main"]
