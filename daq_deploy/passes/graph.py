"""What several passes ask of a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

CONVOLUTIONS = ("Conv", "ConvTranspose")


def convolutions(graph: ir.Graph) -> list[ir.Node]:
    """Return the convolutions of the main graph in execution order, transposed ones included."""
    return [node for node in graph if node.op_type in CONVOLUTIONS and node.domain == ""]


def constant_array(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """Return the array of an initializer or a Constant node, None for anything else."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def float_constant(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """Return a float32 constant, None for anything else."""
    array = constant_array(value)
    return array.astype(np.float32) if array is not None and array.dtype == np.float32 else None


def constant_bias(convolution: ir.Node) -> npt.NDArray[np.float32] | None:
    """Return the bias of a convolution where it is a float32 constant, (O,); None where it has another, or none."""
    return float_constant(convolution.inputs[2]) if len(convolution.inputs) > 2 else None


def producer_of(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """Return the last of a chain of nodes of these kinds, None where it is broken.

    The first node of the chain computes the value, each other one the first input of the one before.
    """
    node = None
    for kind in kinds:
        node = value.producer() if value is not None else None
        if node is None or node.op_type != kind or node.domain != "":
            return None
        value = node.inputs[0]
    return node


def only_consumer(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads `value`, None if there are more, none, or it is a graph output."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def layer_name(convolution: ir.Node) -> str:
    """Return the name people know a layer by: its module path if the weights are called `<path>.weight`."""
    weight = convolution.inputs[1]
    constant = weight is not None and ir.convenience.get_const_tensor(weight) is not None
    name = weight.name if weight is not None and constant else convolution.name
    return (name or convolution.name or convolution.outputs[0].name or "").removesuffix(".weight")


def add_initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Register an initializer under a name that is made unique, and return its value."""
    unique, number = name, 1
    while unique in graph.initializers:
        unique, number = f"{name}_{number}", number + 1
    value = ir.Value(
        name=unique, shape=ir.Shape(tensor.numpy().shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def add_array(graph: ir.Graph, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    """Register a numpy array as an initializer."""
    return add_initializer(graph, name, ir.Tensor(array, name=name))


def ancestors(value: ir.Value | None, stop: frozenset[ir.Value] = frozenset()) -> Iterator[ir.Value]:
    """Yield `value` and every value it is computed from, not going beyond those in `stop` (which are not yielded)."""
    seen: set[ir.Value] = set(stop)
    pending = [value]
    while pending:
        current = pending.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        yield current
        producer = current.producer()
        if producer is not None:
            pending.extend(producer.inputs)


@dataclass(frozen=True)
class WeightCodes:
    """Weights of a convolution as its graph stores them: codes * step, half a step more where levels are mid-rise."""

    codes: npt.NDArray[np.int8]
    """(O, I / groups, kH, kW)."""
    step: npt.NDArray[np.float32]
    """Of each output channel, (O,)."""
    mid_rise: bool

    def dequantize(self) -> npt.NDArray[np.float32]:
        """Return the weights that the codes stand for, in the arithmetic of the graph."""
        step = self.step.reshape(-1, *([1] * (self.codes.ndim - 1)))
        levels = self.codes.astype(np.float32) * step
        return levels + step / np.float32(2) if self.mid_rise else levels


def weight_codes(node: ir.Node) -> WeightCodes | None:
    """Return the codes of a convolution's weights, None where they are float or not stored as `QuantizeWeights` does."""
    value = node.inputs[1]
    producer = value.producer() if value is not None else None
    half_step = None
    if producer is not None and producer.op_type == "Add":
        half_step = float_constant(producer.inputs[1])
        value = producer.inputs[0]
        producer = value.producer() if value is not None else None
    if producer is None or producer.op_type != "DequantizeLinear" or len(producer.inputs) != 2:
        return None
    codes, step = constant_array(producer.inputs[0]), float_constant(producer.inputs[1])
    if codes is None or step is None or step.shape != codes.shape[:1]:
        return None
    if half_step is not None and not np.array_equal(half_step.reshape(-1), step / np.float32(2)):
        return None
    return WeightCodes(codes.astype(np.int8), step, half_step is not None)


def dequantized_weights(node: ir.Node) -> npt.NDArray[np.float32] | None:
    """Return the weights that a convolution's codes stand for, None where they are float."""
    weights = weight_codes(node)
    return None if weights is None else weights.dequantize()


def remove_unused(model: ir.Model) -> None:
    """Remove nodes, functions and opset imports that nothing uses."""
    # RemoveUnusedNodesPass goes on counting what is in the body of a node it has removed as readers.
    for node in reversed(list(model.graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                        inner.resize_inputs(0)
            model.graph.remove(node, safe=True)
    for clean in (RemoveUnusedNodesPass(), RemoveUnusedFunctionsPass(), RemoveUnusedOpsetsPass()):  # type: ignore[no-untyped-call]
        clean(model)


def replace_value(node: ir.Node, new_value: ir.Value) -> None:
    """Make every reader of a node's only output read `new_value`, keep the name of a graph output, and remove the node."""
    old_value = node.outputs[0]
    new_value.type, new_value.shape = new_value.type or old_value.type, new_value.shape or old_value.shape
    if old_value.is_graph_output():
        new_value.name, old_value.name = old_value.name, None
    ir.convenience.replace_all_uses_with(old_value, new_value, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


__all__ = [
    "WeightCodes",
    "add_array",
    "add_initializer",
    "ancestors",
    "constant_array",
    "constant_bias",
    "convolutions",
    "dequantized_weights",
    "float_constant",
    "layer_name",
    "only_consumer",
    "remove_unused",
    "replace_value",
    "weight_codes",
]
