"""What this machine can do and what is missing: what `daq-deploy doctor` shows."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import onnxruntime

from daq_deploy.errors import DaqError, OptionError
from daq_deploy.passes.native import FusedLayer

from .library import ABI_VERSION, INSTRUCTION_SETS, load_library
from .machine import Machine, this_machine
from .providers import EXECUTION_PROVIDERS, why_not
from .self_test import TierCheck, check_tier
from .session import Session

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFORMATION = Path("/proc/cpuinfo")
_FOR_CONTRIBUTORS = ("benchmark", "dev", "docs")


@dataclass(frozen=True)
class ProviderState:
    """An execution provider of ours."""

    name: str
    problem: str | None
    """Why it does not start, with what the loader says; None where it does."""


@dataclass(frozen=True)
class LibraryState:
    """The native library."""

    file: str | None
    """Name of its file; None where the package was installed without a compiler."""
    version: int | None
    """Version of its interface."""
    isa: str | None
    """The instruction set that kernels use."""
    isa_reason: str
    """Why it is not a higher one, or why there is no library."""


@dataclass(frozen=True)
class ExtraState:
    """An optional part of the installation."""

    name: str
    packages: dict[str, str | None]
    """Version of each package that it brings; None for one that is not installed."""

    @property
    def installed(self) -> bool:
        """Whether every package is there."""
        return all(self.packages.values())


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a model run."""

    model: str
    provider: str
    """The provider that was asked for."""
    nodes: tuple[tuple[str, str, str], ...]
    """Provider, operator and name of each node."""
    layers: tuple[FusedLayer, ...]
    """What the native kernels compute of each convolution; empty where they are not used."""
    without_native: str
    """Why native kernels are not used; empty where they are."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many nodes of each operator run on each provider."""
        providers = dict.fromkeys(where for where, _, _ in self.nodes)
        return {
            provider: dict(Counter(operator for where, operator, _ in self.nodes if where == provider).most_common())
            for provider in providers
        }


@dataclass(frozen=True)
class Checkup:
    """Everything `daq-deploy doctor` found."""

    version: str
    machine: Machine
    default_threads: int
    """Threads of a network where none are asked for: one a physical core."""
    cpu_limit: float | None
    """Processors that the control group allows, 1.5 say; None without a limit."""
    onnxruntime_version: str
    providers: tuple[ProviderState, ...]
    library: LibraryState
    self_test: tuple[TierCheck, ...]
    """Every kernel in every instruction set of this machine; empty without kernels or where it was not asked for."""
    extras: tuple[ExtraState, ...]
    placement: Placement | None
    problems: tuple[str, ...]
    """What was asked for and is broken, one line each."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        values = asdict(self)
        for extra, state in zip(values["extras"], self.extras, strict=True):
            extra["installed"] = state.installed
        if self.placement is not None:
            values["placement"]["counts"] = self.placement.counts
        return values


def check_up(
    model: Path | None = None,
    provider: str = "cpu",
    with_self_test: bool = True,
    progress: Callable[[str], None] = lambda title: None,
) -> Checkup:
    """Look at this machine and this installation.

    Args:
        model: an ONNX file; None shows no placement of nodes.
        provider: `cpu` or `cuda`: the one that has to work.
        with_self_test: run every native kernel against the oracle.
        progress: told what is being looked at.

    Raises:
        OptionError: the provider is not one of ours.
        ModelError: the model cannot be read.
    """
    if provider not in EXECUTION_PROVIDERS:
        raise OptionError(f"--provider {provider}: choose one of {', '.join(EXECUTION_PROVIDERS)}")
    progress("Starting providers")
    providers = tuple(ProviderState(name, why_not(name)) for name in EXECUTION_PROVIDERS)
    problems = [f"{state.name}: {state.problem}" for state in providers if state.problem and state.name == provider]
    library, library_problem = _library()
    problems += [] if library_problem is None else [library_problem]
    tiers: list[TierCheck] = []
    if with_self_test and library.isa is not None:
        for isa in INSTRUCTION_SETS:
            progress(f"Kernels against the oracle: {isa}")
            tier = check_tier(isa)
            tiers += [] if tier is None else [tier]
    problems += [failure for tier in tiers for failure in tier.failures]
    placement = None
    if model is not None:
        progress(f"Opening {model}")
        placement, reason = _place(model, provider)
        problems += [] if reason is None else [f"{model}: {reason}"]
    machine = this_machine()
    return Checkup(
        version=version("daq-deploy"),
        machine=machine,
        default_threads=min(machine.cores, _physical_cores() or machine.cores),
        cpu_limit=_cpu_limit(),
        onnxruntime_version=onnxruntime.__version__,
        providers=providers,
        library=library,
        self_test=tuple(tiers),
        extras=installed_extras(),
        placement=placement,
        problems=tuple(problems),
    )


def installed_extras() -> tuple[ExtraState, ...]:
    """Return the optional parts of the installation, but those for contributors, and which of their packages are there."""
    packages: dict[str, list[str]] = {}
    for requirement in requires("daq-deploy") or []:
        found = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?[^;]*;.*extra == ['\"]([\w-]+)['\"].*", requirement)
        if found and found[1] != "daq-deploy":
            packages.setdefault(found[2], []).append(found[1])
    return tuple(
        ExtraState(name, {package: _version_of(package) for package in packages[name]})
        for name in sorted(packages)
        if name not in _FOR_CONTRIBUTORS
    )


def _library() -> tuple[LibraryState, str | None]:
    """Return the state of the native library, and what is wrong with it."""
    try:
        library = load_library()
    except DaqError as error:
        return LibraryState(None, None, None, str(error)), str(error)
    if library is None:
        reason = "daq-deploy was installed without a C++ compiler; files run, without kernels"
        return LibraryState(None, None, None, reason), None
    wanted = os.environ.get("DAQ_ISA", library.isa)
    problem = None if wanted in ("", library.isa) else library.isa_reason
    return LibraryState(library.path.name, ABI_VERSION, library.isa, library.isa_reason), problem


def _place(model: Path, provider: str) -> tuple[Placement | None, str | None]:
    """Return where the nodes of a model run, and why it does not run as asked."""
    with Session(model, provider, allow_fallback=True) as session:
        nodes, description = session.nodes(), session.describe()
    fallen = sum(where != provider for where, _, _ in nodes)
    reason = f"{fallen} of {len(nodes)} nodes do not run on {provider}" if fallen else None
    return Placement(str(model), provider, nodes, description.fused_layers, description.without_native), reason


def _physical_cores() -> int | None:
    """Cores of the machine, two threads of a core counted once; None where the system does not list them."""
    if not _CPU_INFORMATION.exists():
        return None
    found = re.findall(r"^physical id\s*: (\d+)$.*?^core id\s*: (\d+)$", _CPU_INFORMATION.read_text(), re.M | re.S)
    return len(set(found)) or None


def _cpu_limit() -> float | None:
    """Processors that the control group allows: containers are limited so, and thread counts do not show it."""
    try:
        quota, period = _CPU_LIMIT.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


__all__ = ["Checkup", "ExtraState", "LibraryState", "Placement", "ProviderState", "check_up", "installed_extras"]
