"""Fix the batch size to one, the portable form: QuantizeLinear takes one step a channel, not one an image."""

from __future__ import annotations

import onnx_ir as ir


class SingleImage(ir.passes.InPlacePass):
    """Set the first dimension of rank-4 graph inputs and outputs to 1, and forget inferred shapes between."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names: set[str] = set()
        for value in [*model.graph.inputs, *model.graph.outputs]:
            if value.shape is not None and value.shape.rank() == 4 and value.shape[0] != 1:
                names.add(str(value.shape[0]))
                value.shape = ir.Shape([1, *value.shape[1:]])
        for node in model.graph:
            for value in node.outputs:
                if value.shape is not None and not value.is_graph_output():
                    value.shape = ir.Shape([1 if str(size) in names else size for size in value.shape])
        return ir.passes.PassResult(model, modified=bool(names))


__all__ = ["SingleImage"]
