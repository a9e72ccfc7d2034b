"""An opened super-resolution network, float or DAQ."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from daq_deploy.config import FLOAT_BITS, DaqConfig
from daq_deploy.errors import ImageError, ModelError, OptionError, OutOfMemoryError, ProviderError
from daq_deploy.least_size import least_size
from daq_deploy.passes.native import FusedLayer

from .model_source import add_outputs, first_line, name_of, read_model
from .native_use import NativeUse, is_fused, obstacle_of, range_names, use_native
from .providers import EXECUTION_PROVIDERS, assigned_nodes, open_session
from .synthetic import smooth_image

Image = npt.NDArray[np.float32]

OPTIMIZATION_LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_PROBE_SIZE = 32
"""Height and width of the picture that is run to find the scale; some networks refuse much smaller ones."""


@dataclass(frozen=True)
class SessionDescription:
    """What a session does."""

    model: str
    """Path as given, or "model in memory"."""
    provider: str
    """`cpu` or `cuda`: where the network runs, or starts to where nodes fell back."""
    threads: int | None
    """Threads within a node; None leaves it to ONNX Runtime (one a physical core)."""
    optimization: str
    """Graph optimization level: all, extended, basic or disabled."""
    onnxruntime_version: str
    config: DaqConfig | None
    """How the file was quantized; None for a float file."""
    quantized_convolutions: int
    """Convolutions whose weights, activations or both are quantized."""
    value_range: float
    """Largest pixel value of input and output."""
    fallback_nodes: tuple[str, ...] | None
    """Nodes that fell back to the CPU; None where the installed ONNX Runtime cannot say."""
    native_library: str | None
    """The native kernels in use; None without."""
    without_native: str
    """Why no native kernels are in use; empty where they are."""
    instruction_set: str | None
    """Of the native kernels: amx, avx512_vnni, avx_vnni, avx2 or portable; None without."""
    fused_layers: tuple[FusedLayer, ...]
    """What became of each convolution where native kernels are in use."""


class Session:
    """Open a network that reads one float32 picture (N, C, H, W) and returns a larger one.

    Args:
        model: an ONNX file, its bytes, or a ModelProto that holds its weights.
        provider: `cpu` or `cuda`.
        threads: threads within a node, 1 or more; None leaves it to ONNX Runtime.
        allow_fallback: accept that nodes, or the whole network, run on the CPU instead of `provider`.
        optimization: graph optimization level: `all`, `extended`, `basic` or `disabled`.
        extra_outputs: names of tensors inside the graph that `run_outputs` shall return.
        extra_inputs: names of all inputs beside the picture; `run_outputs` has to be given them.
        native: compute what can be by the native kernels: on the CPU, where they are installed, for a DAQ file, with
            optimization `all` and without extra outputs other than ranges. `describe()` says whether they are in use, or
            why not.

    A session is a context manager, may be used from several threads, and is pickled as what it was opened with.

    Raises:
        ModelError: the model cannot be read, is unsafe or invalid, or does not map a picture to a picture.
        OptionError: an option is out of its range, or the graph has no tensor of that name.
        ProviderError: the provider is absent, does not start, or not for every node.
    """

    def __init__(
        self,
        model: str | Path | bytes | onnx.ModelProto,
        provider: str = "cpu",
        threads: int | None = None,
        allow_fallback: bool = False,
        optimization: str = "all",
        extra_outputs: Sequence[str] = (),
        extra_inputs: Sequence[str] = (),
        native: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise OptionError(f"--threads {threads}: choose 1 or more")
        if optimization not in OPTIMIZATION_LEVELS:
            raise OptionError(f"optimization {optimization}: choose one of {', '.join(OPTIMIZATION_LEVELS)}")
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
        self._arguments = (
            *(source, provider, threads, allow_fallback, optimization),
            *(tuple(extra_outputs), tuple(extra_inputs), native),
        )
        self.name = name_of(source)
        proto = read_model(source)
        add_outputs(proto, extra_outputs, self.name)
        self._read_metadata({entry.key: entry.value for entry in proto.metadata_props})
        self._native: NativeUse | str
        prepared = self._prepare(proto)
        opened, self._native = (proto, prepared) if isinstance(prepared, str) else prepared
        self._session, self._fallback_nodes = self._open(opened)
        self._read_signature()
        self.least_size = least_size(ir.from_proto(proto).graph)
        """Least height and width of a picture."""

    def _prepare(self, proto: onnx.ModelProto) -> tuple[onnx.ModelProto, NativeUse] | str:
        """Return the model for the native kernels, or why they are not used."""
        _, provider, _, _, optimization, extra_outputs, _, native = self._arguments
        obstacle = ""
        if not native:
            obstacle = "native kernels are turned off"
        elif provider != "cpu":
            obstacle = f"the session runs on {provider}"
        elif optimization != "all" and not is_fused(proto):
            obstacle = f"optimization {optimization} shows the graph as it is in the file"
        elif not is_fused(proto) and not set(extra_outputs) <= range_names(proto):
            obstacle = "tensors inside the graph are asked for"
        return obstacle_of(proto, self.name, obstacle) if obstacle else use_native(proto, self.name)

    def _open(self, proto: onnx.ModelProto) -> tuple[onnxruntime.InferenceSession | None, tuple[str, ...] | None]:
        _, provider, threads, allow_fallback, optimization, *_ = self._arguments
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = OPTIMIZATION_LEVELS[optimization]
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed beside it
        options.intra_op_num_threads = threads or 0
        # Folds DequantizeLinear of constant weights, so that convolutions keep their fast layout, and turns off fusions
        # to QLinearConv, which takes one activation scale only and fails on one a channel.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        # Threads of an idle session must not take cores from the session that runs beside it.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            if isinstance(self._native, NativeUse):
                options.register_custom_ops_library(str(self._native.library.path))
                # A pattern is one more block, as large as all maps together, once a size comes again; and nothing is faster.
                options.enable_mem_pattern = False
            return open_session(proto.SerializeToString(), options, provider, allow_fallback)
        except (OptionError, ProviderError):
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelError(f"{self.name}: ONNX Runtime cannot open it: {first_line(error)}") from error

    def _read_metadata(self, metadata: dict[str, str]) -> None:
        try:
            self.value_range = float(metadata.get("daq.value_range", "255.0"))
            layers = json.loads(metadata.get("daq.layers", "[]"))
            self._quantized_convolutions = sum(
                min(layer["weight_bits"], layer["activation_bits"]) < FLOAT_BITS for layer in layers
            )
            self._config = DaqConfig.from_json(metadata["daq.config"]) if "daq.config" in metadata else None
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self.name}: its daq metadata are damaged: {first_line(error)}") from error
        if not (math.isfinite(self.value_range) and self.value_range > 0):
            raise ModelError(f"{self.name}: daq.value_range is {self.value_range}; it must be a positive number")

    def _read_signature(self) -> None:
        expected = self._arguments[-2]
        inputs = [entry for entry in self._opened.get_inputs() if entry.name not in expected]
        outputs = self._opened.get_outputs()
        if len(inputs) != 1:
            raise ModelError(f"{self.name}: has {len(inputs)} inputs; a super-resolution network has one, the picture")
        (entry,), output = inputs, outputs[0]
        for tensor in (entry, output):
            if tensor.type != "tensor(float)" or len(tensor.shape) != 4:
                raise ModelError(
                    f"{self.name}: {tensor.name} is {tensor.type} of rank {len(tensor.shape)}; "
                    "a picture is tensor(float) of rank 4 (N, C, H, W)"
                )
        self._input_name, self._output_name = str(entry.name), str(output.name)
        self._input_shape = tuple(size if isinstance(size, int) else None for size in entry.shape)
        self._output_shape = tuple(size if isinstance(size, int) else None for size in output.shape)

    @property
    def _opened(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            raise ModelError(f"{self.name}: the session is closed")
        return self._session

    @property
    def channels(self) -> int:
        """Channels of the picture: what the file declares, 3 where it leaves them open."""
        return self._input_shape[1] or 3

    @property
    def one_image(self) -> bool:
        """Whether the network takes one picture a run only."""
        return self._input_shape[0] == 1 or (self._config is not None and not self._config.dynamic_batch)

    @cached_property
    def scale(self) -> int:
        """Factor from input to output height and width; found by a run where the file leaves its sizes open.

        Raises:
            ModelError: the factor is not a whole number, or differs between height and width.
        """
        height, width = (size or max(_PROBE_SIZE, self.least_size) for size in self._input_shape[2:])
        output = self._output_shape[2:]
        if None in self._input_shape[2:] or None in output:
            output = self.run(smooth_image(height, width, self.value_range, self.channels)).shape[2:]
        factor = (output[0] or 0) // height
        if factor < 1 or output != (height * factor, width * factor):
            raise ModelError(
                f"{self.name}: turns {width}x{height} into {output[1]}x{output[0]} pixels; "
                "a super-resolution network multiplies both by one whole number"
            )
        return factor

    def run(self, image: Image) -> Image:
        """Upscale float32 (N, C, H, W) in 0..value_range to float32 (N, C, scale * H, scale * W), not clipped.

        Raises:
            ImageError: wrong type, rank, number of channels or size.
            ModelError: several pictures for a network that takes one; or the network cannot run at this size.
        """
        return self.run_outputs(image, [self._output_name])[self._output_name]

    def run_outputs(
        self, image: Image, names: Sequence[str] | None = None, extra: Mapping[str, npt.NDArray[Any]] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Run once and return the tensors of these names: graph outputs, or those opened with `extra_outputs`.

        Args:
            image: as `run` takes it.
            names: None for every output.
            extra: values of `extra_inputs`, by name.

        Raises:
            ImageError, ModelError: as `run`; also where a name is not an output.
        """
        known = [output.name for output in self._opened.get_outputs()]
        names = known if names is None else list(names)
        for name in names:
            if name not in known:
                raise ModelError(
                    f"{self.name}: {name} is not an output; open the session with extra_outputs=[{name!r}]"
                )
        self._check(image)
        try:
            values = self._opened.run(names, {self._input_name: np.ascontiguousarray(image), **(extra or {})})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise self._cannot_run(image, error) from error
        return dict(zip(names, values, strict=True))

    def bind(self, image: Image) -> Callable[[], None]:
        """Return a function that runs the network on `image`, which is copied to the device once, now.

        The function returns when the output lies ready on the device; nothing is copied back. For measuring.

        Raises:
            ImageError, ModelError: as `run`; the function raises ModelError too.
        """
        self._check(image)
        session = self._opened
        on_cuda = EXECUTION_PROVIDERS["cuda"] in session.get_providers()
        device = "cuda" if on_cuda else "cpu"
        binding = session.io_binding()
        binding.bind_ortvalue_input(
            self._input_name, onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(image), device, 0)
        )
        binding.bind_output(self._output_name, device)

        def run() -> None:
            try:
                session.run_with_iobinding(binding)
                binding.synchronize_outputs()
            except Exception as error:
                raise self._cannot_run(image, error) from error

        return run

    def _cannot_run(self, image: Image, error: Exception) -> ModelError:
        height, width = image.shape[2:]
        reason = first_line(error)
        # ONNX Runtime raises the same class for everything: "Failed to allocate memory", "std::bad_alloc".
        kind = OutOfMemoryError if isinstance(error, MemoryError) or "alloc" in reason else ModelError
        return kind(f"{self.name}: cannot run on a picture of {width}x{height} pixels: {reason}")

    def _check(self, image: Image) -> None:
        if not isinstance(image, np.ndarray) or image.dtype != np.float32:
            kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise ImageError(f"{self.name}: the picture is {kind}; give a float32 array in 0..{self.value_range:g}")
        if image.ndim != 4:
            raise ImageError(f"{self.name}: the picture has shape {image.shape}; give (N, {self.channels}, H, W)")
        if image.shape[1] != self.channels:
            raise ImageError(
                f"{self.name}: the picture has {image.shape[1]} channels, the network reads {self.channels}"
            )
        if 0 in image.shape:
            raise ImageError(f"{self.name}: the picture of shape {image.shape} is empty")
        if min(image.shape[2:]) < self.least_size:
            raise ImageError(
                f"{self.name}: the picture has {image.shape[3]}x{image.shape[2]} pixels; the network needs "
                f"{self.least_size}x{self.least_size} at least: add pixels, as `upscale` does, and cut them off again"
            )
        if image.shape[0] > 1 and self.one_image:
            raise ModelError(
                f"{self.name}: takes one picture a run and was given {image.shape[0]}; "
                "run them one by one, or quantize with --dynamic-batch"
            )
        for size, declared in zip(image.shape, self._input_shape, strict=True):
            if declared not in (None, size):
                raise ImageError(
                    f"{self.name}: the picture has shape {image.shape}, the network reads only "
                    f"({', '.join(str(size or 'any') for size in self._input_shape)})"
                )

    @property
    def without_native(self) -> str:
        """Why no native kernels are in use; empty where they are."""
        return self._native if isinstance(self._native, str) else ""

    def describe(self) -> SessionDescription:
        """Say what was opened and how it runs."""
        _, _, threads, _, optimization, *_ = self._arguments
        native = self._native if isinstance(self._native, NativeUse) else None
        on_cuda = EXECUTION_PROVIDERS["cuda"] in self._opened.get_providers()
        return SessionDescription(
            model=self.name,
            provider="cuda" if on_cuda else "cpu",
            threads=threads,
            optimization=optimization,
            onnxruntime_version=onnxruntime.__version__,
            config=self._config,
            quantized_convolutions=self._quantized_convolutions,
            value_range=self.value_range,
            fallback_nodes=self._fallback_nodes,
            native_library=None if native is None else str(native.library.path),
            without_native=self.without_native,
            instruction_set=None if native is None else native.library.isa,
            fused_layers=() if native is None else native.fusion.layers,
        )

    def nodes(self) -> tuple[tuple[str, str, str], ...]:
        """Return provider, operator and name of every node, as ONNX Runtime has assigned them.

        Raises:
            ProviderError: the installed ONNX Runtime cannot say.
        """
        return assigned_nodes(self._opened)

    def close(self) -> None:
        """Give the memory back; the session cannot run any more."""
        self._session = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Session], tuple[Any, ...]]:
        return Session, self._arguments


__all__ = ["OPTIMIZATION_LEVELS", "Session", "SessionDescription"]
