"""Portable DAQ graph in, native graph out: the operators that the native library computes, domain `daq.native`.

A value is planar, float32 (N, C, H, W) as in ONNX, or a native map. Quantized convolutions read native maps and give one
where something native reads it, else a planar value; what follows a convolution element by element is computed with it
(`epilogue.py`). Elementwise operators between native maps stay native, as do Resize and MaxPool (`resampling.py`). Concat,
Split and Slice of channels cost nothing (`channels.py`), and whatever else there is stays ONNX Runtime's, on planar values.
A value is converted at most once.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from daq_deploy.ops import DOMAIN
from daq_deploy.passes.blocks import DaqBlock, find_blocks
from daq_deploy.passes.graph import ancestors, convolutions, remove_unused
from daq_deploy.passes.plan import read_layers

from .attention import averaged_map
from .channels import channel_slices
from .epilogue import Epilogue, Epilogues
from .nodes import NATIVE_DOMAIN, NATIVE_VERSION, NodeBuilder, replace_output
from .report import METADATA_KEY, FusedLayer, Fusion
from .resampling import only_resampled, resampling_of
from .selection import NativeConvolution, needs_exact, select
from .shapes import shapes_of
from .values import NativeMap, QuantizedConvolution, Ranges, Source
from .wanted import carried_inputs, wanted_values


class FuseNative(ir.passes.InPlacePass):
    """Replace what the native library computes; the metadata then tell what became of each convolution."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        blocks = find_blocks(model)
        selected = select(model.graph, blocks)
        if not any(isinstance(item, NativeConvolution) and item.block is not None for item in selected.values()):
            return ir.passes.PassResult(model, modified=False)
        names = _layer_names(model)
        fusion = _Fusion(model, blocks, selected, names)
        fusion.replace_nodes()
        fusion.convert_what_planar_nodes_read()
        remove_unused(model)
        NameFixPass()(model)
        for node in model.graph:
            if node.domain == NATIVE_DOMAIN and "statistics" in node.attributes:
                _ask_for_statistics(node)
        model.opset_imports[NATIVE_DOMAIN] = NATIVE_VERSION
        model.metadata_props[METADATA_KEY] = fusion.report.to_json()
        return ir.passes.PassResult(model, modified=True)


def _ask_for_statistics(node: ir.Node) -> None:
    """Ask a node for the statistics that are read: none, or all, positives only where a map cannot be negative."""
    readers = [use.node for use in node.outputs[1].uses()]
    node.attributes["statistics"] = ir.AttrInt64("statistics", int(bool(readers)))
    if "positives" in node.attributes:
        counted = any(not reader.attributes.get_int("signed", 1) for reader in readers)
        node.attributes["positives"] = ir.AttrInt64("positives", int(counted))


class _Fusion:
    """The state of one run of the pass."""

    def __init__(
        self,
        model: ir.Model,
        blocks: list[DaqBlock],
        selected: dict[ir.Node, NativeConvolution | str],
        names: dict[ir.Node, str],
    ) -> None:
        self._graph = model.graph
        self._selected = selected
        self._names = names
        self._blocks = blocks
        self._exact: set[ir.Node] = set()
        self._shapes = shapes_of(model, blocks)
        self._wanted = wanted_values(model.graph, selected, self._shapes)
        self._epilogues = Epilogues(model.graph, self._shapes)
        self._builder = NodeBuilder(model.graph)
        self._maps: dict[ir.Value, NativeMap] = {}
        self._sources: dict[ir.Value, list[Source]] = {}
        self._converted: dict[ir.Value, NativeMap] = {}
        self._ranges: dict[ir.Value, Ranges] = {}
        self._portable_ranges: dict[ir.Value, tuple[ir.Value, list[int]]] = {}
        """Native range and portable shape by the portable value."""

    @property
    def report(self) -> Fusion:
        """What became of every convolution."""
        return Fusion(tuple(self._layer(node, item) for node, item in self._selected.items()))

    def replace_nodes(self) -> None:
        """Add the native nodes, in the order of those they replace."""
        pending: dict[ir.Node, tuple[ir.Node, Epilogue]] = {}
        for node in list(self._graph):
            if node not in self._epilogues.taken and (epilogue := self._beginning(node)) is not None:
                pending[epilogue.nodes[-1] if epilogue.nodes else node] = (node, epilogue)
            if node in pending:
                self._replace(node, *pending[node])
            elif node not in self._epilogues.taken:
                self._keep(node)

    def convert_what_planar_nodes_read(self) -> None:
        """Add one conversion for everything native that portable nodes read, or that is an output of the graph."""
        for value in self._read_by_portable_nodes():
            if value in self._maps:
                replace_output(value, self._builder.to_planar(self._maps[value], str(value.name)))
            else:
                replace_output(value, self._builder.reshaped(*self._portable_ranges[value]))
        self._graph.sort()  # a range may be read by a convolution that is left and stands before its first native reader

    def _beginning(self, node: ir.Node) -> Epilogue | None:
        """Return the epilogue of what begins at a node, None where nothing native does."""
        convolution = self._selected.get(node)
        value = node.outputs[0]
        if isinstance(convolution, NativeConvolution):
            if convolution.block is None and value not in self._wanted:
                self._selected[node] = "reads a float map"
                return None
            quantized = convolution.block is not None
            accept = self._accepts if quantized else _refuses
            return self._epilogues.find(value, convolution.channels, accept, rearranged=quantized)
        if value not in self._wanted or channel_slices(node, self._shapes) or node.op_type == "DepthToSpace":
            return None
        start = next((item for item in carried_inputs(node, self._shapes) if item in self._maps), None)
        if start is None:
            return None
        channels = self._maps[start].channels
        epilogue = self._epilogues.find(start, channels, self._accepts, node, rearranged=False, gated=True)
        return epilogue if epilogue.nodes else None

    def _accepts(self, operand: ir.Value, result: ir.Value) -> bool:
        """Return whether fusing an operand spares a conversion, or costs none."""
        return result in self._wanted or operand in self._maps

    def _replace(self, last: ir.Node, first: ir.Node, epilogue: Epilogue) -> None:
        """Add what stands for the nodes from `first` to `last`, before `last`."""
        convolution = self._selected.get(first)
        operand = None if epilogue.operand is None else self._whole(last, epilogue.operand)
        if not isinstance(convolution, NativeConvolution):
            start = next(value for value in carried_inputs(first, self._shapes) if value in self._maps)
            gate = None if epilogue.gate is None else self._whole(last, epilogue.gate)
            self._maps[epilogue.value] = self._builder.elementwise(last, self._maps[start], epilogue, operand, gate)
            return
        name = self._names[first]
        if convolution.block is None:
            self._maps[epilogue.value] = self._builder.float_convolution(last, convolution, epilogue, name)
            return
        block = convolution.block
        sources = self._sources_of(last, block.feature_map)
        ranges = self._ranges_of(last, block, sources)
        planar = epilogue.value not in self._wanted
        exact = needs_exact(block, self._blocks, last=planar or only_resampled(epilogue.value, self._shapes))
        if exact:
            self._exact.add(first)
        wanted = QuantizedConvolution(name, convolution, ranges, sources, epilogue, operand, exact)
        if not planar:
            self._maps[epilogue.value] = self._builder.convolution(last, wanted)
        else:
            replace_output(epilogue.value, self._builder.planar_convolution(last, wanted))

    def _keep(self, node: ir.Node) -> None:
        """Follow the channels through a node that is no part of a convolution or of what is done element by element."""
        if node.op_type == "Shape" and node.domain == "" and node.inputs[0] in self._maps:
            self._builder.shape(node, self._maps[node.inputs[0]])
        if (averaged := averaged_map(node)) in self._maps and node.outputs[0] not in self._wanted:
            self._builder.mean(node, self._maps[averaged])
        resampling = resampling_of(node, self._shapes)
        if resampling is not None and resampling.source in self._maps and node.outputs[0] in self._wanted:
            native = self._builder.resampled(node, resampling, self._maps[resampling.source])
            self._maps[node.outputs[0]] = native
        for value, slices in channel_slices(node, self._shapes).items():
            if value in self._wanted and any(
                item.value in self._maps or item.value in self._sources for item in slices
            ):
                self._sources[value] = [
                    source
                    for item in slices
                    for source in _part(self._sources_of(node, item.value), item.first, item.number)
                ]

    def _sources_of(self, before: ir.Node, value: ir.Value) -> list[Source]:
        """Return the native maps that hold the channels of a value; a planar value is converted."""
        if value in self._sources:
            return self._sources[value]
        native = self._whole(before, value)
        return [Source(native, 0, native.channels)]

    def _whole(self, before: ir.Node, value: ir.Value) -> NativeMap:
        """Return a value as one native map; a planar value, or one of channels from several maps, is converted."""
        if value in self._maps:
            return self._maps[value]
        if value not in self._converted:
            self._converted[value] = self._builder.to_native(before, value, self._shapes[str(value.name)][1])
        return self._converted[value]

    def _ranges_of(self, before: ir.Node, block: DaqBlock, sources: list[Source]) -> Ranges:
        if block.lo not in self._ranges:
            channels = sum(source.count for source in sources)
            if _computes_range(block):
                ranges = self._builder.range(before, block, sources)
                self._portable_ranges[block.lo] = ranges.lo, [-1, channels, 1, 1]
                self._portable_ranges[block.step] = ranges.step, [-1]
            else:
                ranges = self._builder.given_ranges(before, block, channels)
            self._ranges[block.lo] = ranges
        return self._ranges[block.lo]

    def _read_by_portable_nodes(self) -> list[ir.Value]:
        """Return the values with a native form that are reached from the graph's outputs through nodes that remain."""
        found: dict[ir.Value, None] = {}
        seen: set[ir.Value] = set()
        pending = list(self._graph.outputs)
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in self._maps:
                found[value] = None
                pending.append(self._maps[value].value)
            elif value in self._portable_ranges:
                found[value] = None
                pending.append(self._portable_ranges[value][0])
            elif (producer := value.producer()) is not None:
                pending.extend(_read_values(producer))
        return list(found)

    def _layer(self, node: ir.Node, item: NativeConvolution | str) -> FusedLayer:
        if isinstance(item, str):
            return FusedLayer(self._names[node], "left", item)
        if item.block is None:
            return FusedLayer(self._names[node], "float")
        return FusedLayer(self._names[node], "exact" if node in self._exact else "native")


def _refuses(operand: ir.Value, result: ir.Value) -> bool:
    return False


def _part(sources: list[Source], first: int, count: int) -> Iterator[Source]:
    """Yield the channels [first, first + count) of sources that lie side by side."""
    for source in sources:
        start, end = max(first, 0), min(first + count, source.count)
        if start < end:
            yield Source(source.map, source.first + start, end - start)
        first -= source.count


def _computes_range(block: DaqBlock) -> bool:
    """Return whether the ranges of a block are those of the map that it quantizes."""
    call = block.lo.producer()
    if call is None:
        return False
    if call.domain == DOMAIN:
        return call.inputs[0] is block.feature_map
    above = set(ancestors(block.lo, stop=frozenset({block.feature_map})))
    return not any(value.is_graph_input() for value in above)


def _read_values(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node reads, in subgraphs too."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        graphs = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        for graph in graphs:
            yield from graph.outputs
            for inner in graph:
                yield from _read_values(inner)


def _layer_names(model: ir.Model) -> dict[ir.Node, str]:
    """Return the names of convolutions that the file tells, or those of their nodes."""
    nodes = convolutions(model.graph)
    layers = read_layers(model.metadata_props.get("daq.layers", "[]"))
    if len(layers) == len(nodes):
        return {node: layer.name for node, layer in zip(nodes, layers, strict=True)}
    return {node: str(node.name or node.outputs[0].name) for node in nodes}


__all__ = ["FuseNative"]
