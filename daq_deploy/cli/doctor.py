"""`daq-deploy doctor`: what this machine can do and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson
from .session_options import Provider

if TYPE_CHECKING:
    from daq_deploy.runtime.doctor import Checkup


def doctor(
    model: Annotated[
        Path | None, typer.Argument(help="ONNX file: also show where each of its nodes runs.", show_default=False)
    ] = None,
    provider: Provider = "cpu",
    self_test: Annotated[
        bool,
        typer.Option("--self-test/--no-self-test", help="Run every native kernel against the oracle; ten seconds."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Show what this machine can do: providers, instruction sets, kernels, optional parts, where a model's nodes run.

    Exit code 1 if something that was asked for is broken: the provider, a kernel, DAQ_ISA, a node of the model.

    Example: `daq-deploy doctor edsr_daq.onnx`
    """
    import json

    from rich.console import Console

    from daq_deploy.errors import CheckFailed
    from daq_deploy.runtime.doctor import check_up

    messages = Console(stderr=True)
    with messages.status("Looking") as status:
        found = check_up(model, provider, self_test, status.update)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        _print(found, self_test)
    if found.problems:
        rest = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise CheckFailed(f"{found.problems[0]}{rest}")


def _print(found: Checkup, self_test: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    machine = found.machine
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str, problem: bool = False) -> None:
        table.add_row(Text(name, style="bold"), Text(value, style="red" if problem else ""))

    row("daq-deploy", f"{found.version}, Python {machine.python}, {machine.operating_system}")
    row("processor", f"{machine.cpu}, {machine.cores} logical processors for this process")
    limit = "" if found.cpu_limit is None else f"; the container allows {found.cpu_limit:g} processors: set --threads"
    row("threads", f"{found.default_threads} where none are asked for, one a physical core{limit}")
    row("instruction sets", " ".join(machine.instruction_sets) or "the system does not list them")
    if machine.gpus:
        row("GPU", "; ".join(machine.gpus))
    row("ONNX Runtime", found.onnxruntime_version)
    for state in found.providers:
        row(f"  {state.name}", "starts" if state.problem is None else f"does not start: {state.problem}")
    library = found.library
    if library.isa is None:
        row("native kernels", f"none: {library.isa_reason}")
    else:
        row("native kernels", f"{library.file}, version {library.version}, in {library.isa}: {library.isa_reason}")
    for tier in found.self_test:
        if tier.failures:
            row(f"  {tier.isa}", "; ".join(tier.failures), problem=True)
        else:
            row(f"  {tier.isa}", f"{len(tier.kernels)} kernels agree with the oracle")
    if library.isa is not None and not self_test:
        row("  self-test", "left out")
    for extra in found.extras:
        missing = [package for package, version in extra.packages.items() if version is None]
        have = ", ".join(f"{package} {version}" for package, version in extra.packages.items() if version is not None)
        lacks = f"lacks {', '.join(missing)}: pip install 'daq-deploy[{extra.name}]'" if missing else ""
        row(f"[{extra.name}]", "; ".join(part for part in (have, lacks) if part))
    if found.placement is not None:
        row("model", found.placement.model)
        for provider, operators in found.placement.counts.items():
            listed = ", ".join(f"{number} {operator}" for operator, number in operators.items())
            row(f"  on {provider}", f"{sum(operators.values())} nodes: {listed}")
        if found.placement.without_native:
            row("  native", f"not used: {found.placement.without_native}")
        else:
            left = [layer for layer in found.placement.layers if layer.kind == "left"]
            number = len(found.placement.layers)
            row("  native", f"{number - len(left)} of {number} convolutions run by native kernels")
            for layer in left:
                row("", f"{layer.name} does not: {layer.reason}")
    Console().print(table)


__all__ = ["doctor"]
