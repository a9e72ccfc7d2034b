"""What each convolution of a super-resolution network is for.

head        reads the image
tail        its output reaches the network's output through no other convolution
upsampler   it, or a tensor it is computed from, was enlarged, or its own output is enlarged before the next convolution
closing     closes the body: its output is added to what the head gave (the long skip connection), and convolutions that
            enlarge come next
attention   computes the gate of a multiplication (x * sigmoid(...)), beside the tensor that is gated
body        everything else
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from .graph import CONVOLUTIONS, ancestors, constant_array, convolutions

_GATES = {"Sigmoid", "HardSigmoid", "Softmax", "Tanh"}
_SPATIAL_POOLS = {"GlobalAveragePool", "GlobalMaxPool"}
_REDUCTIONS = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2", "ReduceSumSquare"}
_ELEMENTWISE = {
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Sigmoid",
    "HardSigmoid",
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Sqrt",
    "Pow",
    "Identity",
}


def convolution_roles(graph: ir.Graph) -> dict[ir.Node, str]:
    """Return the role of every convolution of the main graph, transposed ones included."""
    nodes = convolutions(graph)
    attention = _attention(graph)
    roles: dict[ir.Node, str] = {}
    enlarged = _enlarged_values(graph, attention)
    for node in nodes:
        if node in attention:
            roles[node] = "attention"
            continue
        before = list(_feeding(node.inputs[0], attention))
        if not any(isinstance(item, ir.Node) for item in before):
            roles[node] = "head"
        elif any(value.is_graph_output() for value in _fed_values(node, attention)):
            roles[node] = "tail"
        elif node.op_type == "ConvTranspose" or node.inputs[0] in enlarged or _enlarges(node, enlarged, attention):
            roles[node] = "upsampler"
        else:
            roles[node] = "body"
    heads = {node for node, role in roles.items() if role == "head"}
    for node, role in roles.items():
        if role in ("body", "upsampler") and node.inputs[0] not in enlarged and _joins_head(node, heads):
            following = _next_convolutions(node, attention)
            if all(roles[after] in ("upsampler", "tail") for after in following):
                roles[node] = "closing"
    return roles


def reads_pooled_map(convolution: ir.Node) -> bool:
    """Return whether a convolution reads a 1x1 map: made by global pools, directly or through layers that keep its size."""
    pending, seen, pooled = [convolution.inputs[0]], set(), False
    while pending:
        value = pending.pop()
        if value is None or value in seen or constant_array(value) is not None:
            continue
        seen.add(value)
        node = value.producer()
        if node is None or node.domain != "":
            return False
        if node.op_type in _SPATIAL_POOLS or (node.op_type in _REDUCTIONS and _reduces_both_sides(node)):
            pooled = True
        elif node.op_type in _ELEMENTWISE:
            pending.extend(node.inputs)
        elif node.op_type == "Conv":
            pending.append(node.inputs[0])
        else:
            return False
    return pooled


def _reduces_both_sides(node: ir.Node) -> bool:
    axes = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    numbers = axes.tolist() if axes is not None else node.attributes.get_ints("axes", [])
    return {axis % 4 for axis in numbers} >= {2, 3}


def _attention(graph: ir.Graph) -> set[ir.Node]:
    """Convolutions that lie in the branch of a gate: above it, and not above the tensor that is gated."""
    found: set[ir.Node] = set()
    for node in graph:
        if node.op_type != "Mul" or any(constant_array(value) is not None for value in node.inputs):
            continue
        for gate, gated in (node.inputs, tuple(reversed(node.inputs))):
            if gate is None or not _is_gate(gate):
                continue
            shared = frozenset(ancestors(gated))
            branch = (value.producer() for value in ancestors(gate, stop=shared))
            found.update(node for node in branch if node is not None and node.op_type in CONVOLUTIONS)
    return found


def _is_gate(value: ir.Value) -> bool:
    """Return whether a value is the output of a gate, seen through reshaping and resizing."""
    node = value.producer()
    while node is not None and node.op_type in ("Reshape", "Expand", "Resize", "Unsqueeze", "Identity", "Transpose"):
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return node is not None and node.op_type in _GATES


def _feeding(value: ir.Value | None, attention: set[ir.Node]) -> Iterator[ir.Node | ir.Value]:
    """Yield the convolutions whose output reaches `value` through no other convolution (attention does not count)."""
    seen: set[ir.Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        node = current.producer()
        if node is None or node.op_type == "Shape":
            continue
        if node.op_type in CONVOLUTIONS and node not in attention:
            yield node
        else:
            pending.extend(node.inputs)


def _fed_values(convolution: ir.Node, attention: set[ir.Node]) -> Iterator[ir.Value]:
    """Yield the values computed from a convolution's output through no other convolution (attention does not count)."""
    seen: set[ir.Value] = set()
    pending = [convolution.outputs[0]]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        yield current
        for use in current.uses():
            if use.node.op_type != "Shape" and (use.node.op_type not in CONVOLUTIONS or use.node in attention):
                pending.extend(use.node.outputs)


def _next_convolutions(convolution: ir.Node, attention: set[ir.Node]) -> set[ir.Node]:
    return {
        use.node
        for value in _fed_values(convolution, attention)
        for use in value.uses()
        if use.node.op_type in CONVOLUTIONS and use.node not in attention
    }


def _enlarged_values(graph: ir.Graph, attention: set[ir.Node]) -> set[ir.Value]:
    """Values of the main path that were enlarged: everything computed from an upsampling, but not inside attention."""
    inside_attention = {
        value for node in attention for value in _fed_values(node, attention) if not _is_gated_product(value)
    }
    enlarged: set[ir.Value] = set()
    for node in graph:
        upsamples = node.op_type in ("DepthToSpace", "ConvTranspose") or node.op_type == "Resize"
        own = upsamples and node.inputs[0] not in inside_attention
        if own or any(value in enlarged for value in node.inputs if value is not None):
            enlarged.update(value for value in node.outputs if value not in inside_attention)
    return enlarged


def _is_gated_product(value: ir.Value) -> bool:
    node = value.producer()
    return (
        node is not None and node.op_type == "Mul" and any(_is_gate(item) for item in node.inputs if item is not None)
    )


def _enlarges(convolution: ir.Node, enlarged: set[ir.Value], attention: set[ir.Node]) -> bool:
    return any(value in enlarged for value in _fed_values(convolution, attention))


def _joins_head(convolution: ir.Node, heads: set[ir.Node]) -> bool:
    """Return whether a convolution's output is added to a head's output, the activations of both aside."""
    for use in _after_activation(convolution.outputs[0]).uses():
        if use.node.op_type != "Add":
            continue
        for operand in use.node.inputs:
            node = operand.producer() if operand is not None else None
            while node is not None and node.op_type in ("Relu", "LeakyRelu", "PRelu", "Identity"):
                source = node.inputs[0]
                node = source.producer() if source is not None else None
            if node in heads:
                return True
    return False


def _after_activation(value: ir.Value) -> ir.Value:
    readers = {use.node for use in value.uses()}
    if len(readers) == 1 and (node := next(iter(readers))).op_type in ("Relu", "LeakyRelu", "PRelu"):
        return node.outputs[0]
    return value


__all__ = ["convolution_roles", "reads_pooled_map"]
