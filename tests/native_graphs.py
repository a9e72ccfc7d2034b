"""Graphs with fused nodes, and what they should give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx_ir as ir
from native_reference import evaluate
from networks import PAD, network, run

from daq_deploy.config import DaqConfig
from daq_deploy.passes.native import METADATA_KEY, FuseNative, Fusion
from daq_deploy.quantization import quantize

NEAREST = DaqConfig(weight_rule="nearest")


def of_bits(bits: int, **options: object) -> DaqConfig:
    return replace(NEAREST, weight_bits=bits, activation_bits=bits, **options)


def daq(model: onnx.ModelProto, config: DaqConfig = NEAREST, inline: bool = False) -> ir.Model:
    return quantize(ir.from_proto(model), config, inline=inline).model


def fused(model: ir.Model) -> onnx.ModelProto:
    copy = model.clone()
    assert FuseNative()(copy).modified is True
    proto = ir.to_proto(copy)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def fusion_of(proto: onnx.ModelProto) -> Fusion:
    return Fusion.from_json({entry.key: entry.value for entry in proto.metadata_props}[METADATA_KEY])


def kinds(proto: onnx.ModelProto, domain: str | None = None) -> list[str]:
    return [node.op_type for node in proto.graph.node if domain is None or node.domain == domain]


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def the(proto: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    (node,) = (node for node in proto.graph.node if node.op_type == kind)
    return node


def signal_to_noise(found: np.ndarray, truth: np.ndarray) -> float:
    noise = np.square(found.astype(np.float64) - truth).sum()
    return float(10 * np.log10(np.square(truth.astype(np.float64)).sum() / max(noise, 1e-300)))


def assert_equal_but_for_ties(model: ir.Model, image: np.ndarray, least: float = 50.0) -> onnx.ModelProto:
    """Maps in float32 leave no difference but codes on a rounding boundary, which small pictures hardly have."""
    proto = fused(model)
    output = proto.graph.output[0].name
    found = evaluate(proto, image, storage=np.float32)[output]
    truth = run(ir.to_proto(model), image, "DISABLE_ALL")
    assert found.shape == truth.shape
    assert signal_to_noise(found, truth) > least
    return proto


def body(text: str, **shapes: object) -> onnx.ModelProto:
    """A network whose head and tail are around `text`, from `h` to `e`, 8 channels both."""
    return network(
        f"h = Conv{PAD}(x, head_weight) {text} y = Conv{PAD}(e, tail_weight)",
        head_weight=(8, 3, 3, 3), tail_weight=(3, 8, 3, 3), **shapes,
    )  # fmt: skip


def the_first(proto: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.op_type == kind)
