"""The padding of a convolution or pool."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def pads_of(node: ir.Node, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """Return the padding of a Conv (ONNX Conv-11) or pool, all begins and then all ends, also where `auto_pad` tells it.

    Args:
        node: the convolution or pool.
        size: of what it reads, without images and channels.
        kernel: its window.
    """
    axes = range(len(size))
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    if not auto_pad.startswith("SAME"):
        return list(node.attributes.get_ints("pads", [0] * 2 * len(axes)))
    strides = node.attributes.get_ints("strides", [1] * len(axes))
    dilations = node.attributes.get_ints("dilations", [1] * len(axes))
    totals = []
    for axis in axes:
        outputs, reach = -(-size[axis] // strides[axis]), (kernel[axis] - 1) * dilations[axis] + 1
        totals.append(max((outputs - 1) * strides[axis] + reach - size[axis], 0))
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return smaller + larger if auto_pad == "SAME_UPPER" else larger + smaller


__all__ = ["pads_of"]
