"""Compute nodes of a graph with ONNX Runtime, for calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from daq_deploy.calibration.lockstep import IR_VERSION
from daq_deploy.errors import ModelError

from .model_source import first_line

Array = npt.NDArray[np.generic]


class OrtExecutor:
    """Computes nodes.

    For single ones a session is opened for each kind of node and kept: they must stay as they are meanwhile.

    Args:
        opset: of the graph.
        threads: threads within a node; None leaves it to ONNX Runtime.
    """

    def __init__(self, opset: int, threads: int | None = None) -> None:
        self._opset = opset
        self._options = onnxruntime.SessionOptions()
        self._options.log_severity_level = 4
        self._options.intra_op_num_threads = threads or 0
        # Every session has threads of its own: those that wait must not take the processor from the one that works.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions: dict[tuple[object, ...], onnxruntime.InferenceSession] = {}
        self._attributes: dict[ir.Node, tuple[bytes, ...]] = {}

    def __call__(self, node: ir.Node, inputs: Sequence[Array | None]) -> list[Array]:
        """Return a node's outputs; None stands for an input that is left out.

        Raises:
            ModelError: ONNX Runtime cannot compute the node by itself.
        """
        given = {f"input_{index}": array for index, array in enumerate(inputs) if array is not None}
        with _refused(f"node {node.name} ({node.op_type})"):
            outputs: list[Array] = self._session(node, inputs).run(None, given)
        return outputs

    def open(self, model: ir.Model) -> Callable[[Mapping[str, Array]], list[Array]]:
        """Return what computes a model's outputs from its inputs by name.

        Raises:
            ModelError: ONNX Runtime cannot run the model; so does what is returned.
        """

        with _refused("part of the network"):
            session = self._opened(ir.to_proto(model).SerializeToString())

        def run(inputs: Mapping[str, Array]) -> list[Array]:
            with _refused("part of the network"):
                outputs: list[Array] = session.run(None, dict(inputs))
            return outputs

        return run

    def _session(self, node: ir.Node, inputs: Sequence[Array | None]) -> onnxruntime.InferenceSession:
        if node not in self._attributes:
            protos = (ir.to_proto(attribute) for attribute in node.attributes.values())
            self._attributes[node] = tuple(proto.SerializeToString() for proto in protos)
        kinds = tuple(None if array is None else (array.dtype.str, *_declared_shape(array)) for array in inputs)
        key = (node.domain, node.op_type, len(node.outputs), self._attributes[node], kinds)
        if key not in self._sessions:
            self._sessions[key] = self._opened(self._model(node, inputs))
        return self._sessions[key]

    def _opened(self, model: bytes) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])

    def _model(self, node: ir.Node, inputs: Sequence[Array | None]) -> bytes:
        proto = onnx.NodeProto()
        proto.op_type, proto.domain = node.op_type, node.domain
        proto.input.extend("" if array is None else f"input_{index}" for index, array in enumerate(inputs))
        proto.output.extend(f"output_{index}" for index in range(len(node.outputs)))
        proto.attribute.extend(ir.to_proto(attribute) for attribute in node.attributes.values())
        graph = onnx.GraphProto(name="node", node=[proto])
        for index, array in enumerate(inputs):
            if array is not None:
                element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
                graph.input.append(
                    onnx.helper.make_tensor_value_info(f"input_{index}", element, _declared_shape(array))
                )
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in proto.output)
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", self._opset)], ir_version=IR_VERSION
        )
        data: bytes = model.SerializeToString()
        return data


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's errors into one line: its exceptions share no base class."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"{what} cannot be run by itself, as calibration does: {first_line(error)}; "
            "--weight-rule nearest calibrates no weights, --range-rule paper no ranges"
        ) from error


def _declared_shape(array: Array) -> list[int | None]:
    """Sizes of feature maps are left open; shape inference wants to know those of lists, such as Resize's sizes."""
    return [None] * array.ndim if array.ndim > 1 else list(array.shape)


__all__ = ["OrtExecutor"]
