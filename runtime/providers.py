"""Execution providers: which ones ONNX Runtime offers, which ones really start, and which nodes they leave to the CPU.

ONNX Runtime falls back to the CPU silently. Here that is an error that names the missing piece, unless it is allowed.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnxruntime

from daq_deploy.errors import OptionError, ProviderError

EXECUTION_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Our names and ONNX Runtime's."""

_OPTIONS: dict[str, dict[str, str]] = {
    "cpu": {},
    # TF32 keeps 10 bits of the mantissa, which moves many codes over a rounding boundary.
    "cuda": {"use_tf32": "0"},
}
_CALL = re.compile(r"^(_inlfunc_.+?)_token_\d+")  # of a function: ONNX Runtime counts all but the first
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_REFUSE_CPU = "session.disable_cpu_ep_fallback"
_NODES_SHOWN = 4


def offered_providers() -> tuple[str, ...]:
    """Return which of our providers the installed ONNX Runtime was built with; they may still fail to start."""
    available = onnxruntime.get_available_providers()
    return tuple(name for name, execution_provider in EXECUTION_PROVIDERS.items() if execution_provider in available)


def started_providers() -> tuple[str, ...]:
    """Return which of our providers run a small convolution on this machine."""
    return tuple(provider for provider in offered_providers() if why_not(provider) is None)


def why_not(provider: str) -> str | None:
    """Return why a provider does not run a small convolution on this machine, in one line; None where it does."""
    try:
        session, _ = open_session(_small_model(), onnxruntime.SessionOptions(), provider, allow_fallback=False)
        session.run(None, {"x": np.zeros((1, 1, 4, 4), np.float32)})
    except ProviderError as error:
        return str(error).removeprefix(f"--provider {provider}: ")
    return None


def open_session(
    model: bytes, options: onnxruntime.SessionOptions, provider: str, allow_fallback: bool
) -> tuple[onnxruntime.InferenceSession, tuple[str, ...] | None]:
    """Open a serialized model on a provider and say which nodes fell back to the CPU.

    Args:
        model: serialized ModelProto without external data.
        options: changed here: the entries that record or refuse the CPU are added.
        provider: `cpu` or `cuda`.
        allow_fallback: accept nodes, or the whole model, on the CPU.

    Returns:
        The session, and the nodes that fell back as "Conv name", but for those that compute sizes of tensors; None where
        something fell back and the installed ONNX Runtime cannot say what.

    Raises:
        OptionError: the provider is not one of ours.
        ProviderError: the provider is not offered, does not start, or not for every node.
    """
    if provider not in EXECUTION_PROVIDERS:
        raise OptionError(f"--provider {provider}: choose one of {', '.join(EXECUTION_PROVIDERS)}")
    if provider == "cpu":
        return _create(model, options, ["cpu"]), ()
    if provider not in offered_providers():
        if not allow_fallback:
            raise ProviderError(_not_offered(provider))
        return _open_recorded(model, options, ["cpu"])
    if not allow_fallback and not _records_assignment():
        options.add_session_config_entry(_REFUSE_CPU, "1")
    session, fallen = _open_recorded(model, options, [provider, "cpu"])
    if allow_fallback:
        return session, fallen
    if EXECUTION_PROVIDERS[provider] not in session.get_providers():
        raise ProviderError(_not_started())
    if fallen:
        shown = ", ".join(fallen[:_NODES_SHOWN]) + (", ..." if len(fallen) > _NODES_SHOWN else "")
        raise ProviderError(
            f"{len(fallen)} nodes cannot run on {provider} and would fall back to the CPU ({shown}); "
            "--allow-fallback accepts that"
        )
    return session, ()


def assigned_nodes(session: onnxruntime.InferenceSession) -> tuple[tuple[str, str, str], ...]:
    """Return provider (our name for it), operator and name of every node of a session that `open_session` opened.

    Raises:
        ProviderError: the installed ONNX Runtime cannot say.
    """
    if not _records_assignment():
        raise ProviderError(f"ONNX Runtime {onnxruntime.__version__} does not say where nodes run; update it")
    ours = {theirs: name for name, theirs in EXECUTION_PROVIDERS.items()}
    return tuple(
        (ours.get(part.ep_name, part.ep_name), node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )


def _records_assignment() -> bool:
    return hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")


def _open_recorded(
    model: bytes, options: onnxruntime.SessionOptions, providers: list[str]
) -> tuple[onnxruntime.InferenceSession, tuple[str, ...] | None]:
    if not _records_assignment():
        return _create(model, options, providers), None
    session = _create(model, options, providers)
    on_cpu = [(operator, name) for where, operator, name in assigned_nodes(session) if where == "cpu"]
    sizes = _nodes_of_sizes(model) if on_cpu and providers != ["cpu"] else frozenset()
    return session, tuple(
        f"{operator} {name}".rstrip() for operator, name in on_cpu if _CALL.sub(r"\1", name) not in sizes
    )


def _nodes_of_sizes(model: bytes) -> frozenset[str]:
    """Return the names of nodes that compute with sizes of tensors alone, a few integers.

    ONNX Runtime leaves them on the CPU on purpose, since that is where shapes are known. It names the nodes of a function
    after it.
    """
    loaded = onnx.load_from_string(model)
    names = _computing_sizes(loaded.graph.node, {initializer.name for initializer in loaded.graph.initializer})
    for function in loaded.functions:
        names |= {f"_inlfunc_{function.name}_{name}" for name in _computing_sizes(function.node, set())}
    return frozenset(names)


def _computing_sizes(nodes: Iterable[onnx.NodeProto], constants: set[str]) -> set[str]:
    known, sizes, names = constants | {""}, set[str](), set[str]()
    for node in nodes:
        if node.op_type == "Constant":
            known.update(node.output)
        elif node.op_type in ("Shape", "Size") or (
            not sizes.isdisjoint(node.input) and (sizes | known).issuperset(node.input)
        ):
            sizes.update(node.output)
            names.add(node.name)
    return names - {""}


def _create(model: bytes, options: onnxruntime.SessionOptions, providers: list[str]) -> onnxruntime.InferenceSession:
    accelerated = providers != ["cpu"]
    requested: list[Any] = [(EXECUTION_PROVIDERS[provider], _OPTIONS[provider]) for provider in providers]
    if _records_assignment():
        options.add_session_config_entry(_RECORD_ASSIGNMENT, "1")
    try:
        if accelerated:
            _prepare_cuda()
        # enable_fallback would print to stdout and try again on the CPU.
        return onnxruntime.InferenceSession(model, options, providers=requested, enable_fallback=0)
    except Exception as error:
        if "fallback to CPU EP has been explicitly disabled" in str(error):
            raise ProviderError(
                f"some nodes cannot run on {providers[0]} and would fall back to the CPU; --allow-fallback accepts that"
            ) from error
        raise
    finally:
        if accelerated:
            onnxruntime.set_default_logger_severity(2)  # its default


def _prepare_cuda() -> None:
    """Load the CUDA libraries that came as Python packages, and keep ONNX Runtime from printing why some are absent."""
    onnxruntime.set_default_logger_severity(4)
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()


def _not_offered(provider: str) -> str:
    offered = ", ".join(name.upper() for name in offered_providers())
    return (
        f"--provider {provider}: onnxruntime-gpu is not installed: this onnxruntime {onnxruntime.__version__} offers "
        f"{offered} only; pip install 'onnxruntime-gpu[cuda,cudnn]' in place of onnxruntime"
    )


def _not_started() -> str:
    message = f"--provider cuda: onnxruntime-gpu {onnxruntime.__version__} is installed, but CUDA does not start"
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return f"{message}: {_DRIVER} is missing, which the NVIDIA driver brings"
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return f"{message}: {error}; pip install 'onnxruntime-gpu[cuda,cudnn]' brings the CUDA libraries"
    return f"{message}; see with nvidia-smi that there is a GPU and that its driver fits, and that cuDNN is installed"


def _small_model() -> bytes:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]>
        small (float[1,1,4,4] x) => (float[1,1,3,3] y) <float[1,1,2,2] w = {1.0, 1.0, 1.0, 1.0}> { y = Conv(x, w) }"""
    )
    serialized: bytes = model.SerializeToString()
    return serialized


__all__ = ["EXECUTION_PROVIDERS", "assigned_nodes", "offered_providers", "open_session", "started_providers", "why_not"]
