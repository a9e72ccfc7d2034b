"""Weights of an ONNX file, read back into the PyTorch network that it was exported from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from daq_deploy.errors import ModelError
from daq_deploy.model_file import read_proto
from daq_deploy.passes.graph import constant_array

_LAYERS = {"Conv": nn.Conv2d, "PRelu": nn.PReLU}
"""Operators whose constants are weights, and the modules that hold them."""


@torch.no_grad()
def copy_onnx_weights(path: Path, module: nn.Module) -> None:
    """Copy weights, biases and slopes of an ONNX file into a module.

    Layers are matched by the order in which they run, since an ONNX file need not have kept their names.

    Args:
        path: float ONNX file of the same network; batch norm is folded into its convolutions.
        module: from (N, 3, H, W), float32; its nn.Conv2d and nn.PReLU are overwritten.

    Raises:
        ModelError: the file cannot be read, or its layers are not those of the module; says which is the first to differ.
    """
    graph = ir.from_proto(read_proto(path)).graph
    nodes = [node for node in graph if node.op_type in _LAYERS]
    layers = _in_order_of_execution(module)
    if len(nodes) != len(layers):
        raise ModelError(f"{path}: has {len(nodes)} layers with weights, the PyTorch network has {len(layers)}")
    for node, (name, layer) in zip(nodes, layers, strict=True):
        if not isinstance(layer, _LAYERS[node.op_type]):
            raise ModelError(
                f"{path}: has a {node.op_type} where the PyTorch network has {name}, another kind of layer"
            )
        tensors = [layer.weight, layer.bias] if isinstance(layer, nn.Conv2d) else [layer.weight]
        values = [constant_array(value) for value in node.inputs[1:]]
        if len(values) != len([tensor for tensor in tensors if tensor is not None]) or any(
            not _fill(tensor, value) for tensor, value in zip(tensors, values, strict=False)
        ):
            raise ModelError(f"{path}: its weights for {name} have not the shape of the PyTorch network's")


def _in_order_of_execution(module: nn.Module) -> list[tuple[str, nn.Conv2d | nn.PReLU]]:
    order: list[tuple[str, nn.Conv2d | nn.PReLU]] = []
    handles = [
        layer.register_forward_pre_hook(lambda layer, read, name=name: order.append((name, layer)))
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.PReLU))
    ]
    try:
        module(torch.zeros(1, 3, 32, 32))
    finally:
        for handle in handles:
            handle.remove()
    return order


def _fill(tensor: Tensor | None, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None) -> bool:
    """Overwrite a parameter; return whether there was a constant of its shape, but for axes of one."""
    if tensor is None or value is None or np.squeeze(value).shape != tuple(tensor.squeeze().shape):
        return False
    tensor.copy_(torch.from_numpy(value.astype(np.float32)).reshape(tensor.shape))
    return True


__all__ = ["copy_onnx_weights"]
