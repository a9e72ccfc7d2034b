"""Remove everything that is not needed to run: doc strings, local paths, stack traces, the producer's notes.

Exporters write the stack trace and the source path of every node into the file; a shipped file should not tell them.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from daq_deploy.model_file import METADATA_PREFIX


class StripMetadata(ir.passes.InPlacePass):
    """Clear doc strings and metadata of the model and everything in it, but for entries that start with `daq.`."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        ours = {key: text for key, text in model.metadata_props.items() if key.startswith(METADATA_PREFIX)}
        foreign = len(model.metadata_props) > len(ours) or bool(model.doc_string)
        cleared = ClearMetadataAndDocStringPass()(model)
        model.doc_string = None
        model.metadata_props.clear()
        model.metadata_props.update(ours)
        return ir.passes.PassResult(model, modified=foreign or cleared.modified)


__all__ = ["StripMetadata"]
