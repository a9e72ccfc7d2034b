"""Inline the functions of domain `daq`, for importers that know none (OpenVINO), and keep the branch that is taken.

The `If` of ChannelRange has a constant condition in every call; not every importer folds it, so it is resolved here.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, NameFixPass, RemoveUnusedNodesPass

from .graph import constant_array


class InlineFunctions(ir.passes.InPlacePass):
    """Inline every function and replace every `If` whose condition is a constant by its branch."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        inlined = InlinePass()(model)
        branches = [node for node in model.graph if node.op_type == "If" and _condition(node) is not None]
        for node in branches:
            _keep_branch(model.graph, node)
        RemoveUnusedNodesPass()(model)
        NameFixPass()(model)
        return ir.passes.PassResult(model, modified=inlined.modified or bool(branches))


def _condition(node: ir.Node) -> bool | None:
    """Return the value of a condition that is a constant, or the Cast of one."""
    value = node.inputs[0]
    producer = value.producer() if value is not None else None
    source = producer.inputs[0] if producer is not None and producer.op_type == "Cast" else value
    constant = constant_array(source)
    return None if constant is None else bool(constant)


def _keep_branch(graph: ir.Graph, node: ir.Node) -> None:
    branch = node.attributes["then_branch" if _condition(node) else "else_branch"].as_graph()
    results = list(branch.outputs)
    nodes = list(branch)
    branch.outputs.clear()
    branch.remove(nodes)
    graph.insert_before(node, nodes)
    ir.convenience.replace_all_uses_with(node.outputs, results, replace_graph_outputs=True)
    graph.remove(node, safe=True)


__all__ = ["InlineFunctions"]
