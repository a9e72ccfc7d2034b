"""Fix the batch size to one, the portable form: QuantizeLinear takes one step a channel, not one an image."""

from __future__ import annotations

import onnx_ir as ir


class SingleImage(ir.passes.InPlacePass):
    """Set the first dimension of rank-4 graph inputs and outputs to 1, and forget the shapes between."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for value in [*model.graph.inputs, *model.graph.outputs]:
            if value.shape is not None and value.shape.rank() == 4 and value.shape[0] != 1:
                modified = True
                value.shape = ir.Shape([1, *value.shape[1:]])
        if modified:
            for node in model.graph:
                for value in node.outputs:
                    value.shape = value.shape if value.is_graph_output() else None
        return ir.passes.PassResult(model, modified=modified)


__all__ = ["SingleImage"]
