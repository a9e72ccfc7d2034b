"""The part of a network that a change reaches, as a model of its own: run at once it is faster than node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from .lockstep import IR_VERSION, Array, Executor

Replaced = Mapping[ir.Node, Mapping[int, Array]]
"""Arrays in place of some inputs of some nodes, by index. A bias may be one that the node did not have."""


@dataclass(frozen=True)
class Downstream:
    """What replaced inputs of some nodes do to a value."""

    run: Callable[[Mapping[str, Array]], Sequence[Array]]
    names: Mapping[tuple[ir.Node, int], str]
    """Of the replaced inputs."""
    unchanged: Mapping[str, Array]
    """What no change reaches, and nodes that one reaches read."""

    def __call__(self, replaced: Replaced) -> Array:
        """Return the value."""
        given = {self.names[node, index]: array for node, arrays in replaced.items() for index, array in arrays.items()}
        (value,) = self.run({**self.unchanged, **given})
        return value


def downstream(
    graph: ir.Graph, values: Mapping[ir.Value, Array], execute: Executor, replaced: Replaced, target: ir.Value
) -> Downstream | None:
    """Return what tells a value from arrays in place of inputs, None where these do not reach it.

    Args:
        graph: of the network.
        values: all of a run.
        execute: opens the model.
        replaced: arrays like those that will be given.
        target: the value.
    """
    part = graph.clone()
    twins = dict(zip(graph, part, strict=True))
    names, inputs = dict[tuple[ir.Node, int], str](), dict[str, ir.Value]()
    unchanged, reached = dict[str, Array](), set[ir.Value]()
    for node in graph:
        own = replaced.get(node, {})
        if not own and reached.isdisjoint(node.inputs):
            continue
        reached.update(node.outputs)
        twin = twins[node]
        for output in twin.outputs:
            output.shape = None  # which may be that of another picture
        twin.resize_inputs(max([len(node.inputs), *(index + 1 for index in own)]))
        for index, array in own.items():
            name = names[node, index] = f"daq:replaced:{len(names)}"
            inputs[name] = _input(name, array)
            twin.replace_input_with(index, inputs[name])
        for index, value in enumerate(node.inputs):
            if value is None or index in own or value in reached or value.is_initializer():
                continue
            name = f"daq:unchanged:{value.name}"
            if name not in inputs:
                inputs[name], unchanged[name] = _input(name, values[value]), values[value]
            twin.replace_input_with(index, inputs[name])
    producer = target.producer()
    if target not in reached or producer is None:
        return None
    part.outputs[:] = [twins[producer].outputs[producer.outputs.index(target)]]
    part.inputs[:] = inputs.values()
    model = ir.Model(part, ir_version=IR_VERSION)
    RemoveUnusedNodesPass()(model)
    return Downstream(execute.open(model), names, unchanged)


def _input(name: str, array: Array) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))


__all__ = ["Downstream", "Replaced", "downstream"]
