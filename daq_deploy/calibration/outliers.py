"""Leave out pictures on which a network explodes.

Some networks answer to a few pictures with feature maps many times their usual size. Second moments and errors are sums
of squares: such a picture would outvote all others, and weights and ranges would suit it alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.passes.graph import convolutions

from .lockstep import Array, Executor, Stream

LARGEST_POWER = 10.0
"""A picture is left out where the mean square of a feature map is more than this times the (lower) median picture's."""


def without_outliers(
    graph: ir.Graph, images: npt.NDArray[np.float32], execute: Executor
) -> tuple[npt.NDArray[np.float32], Array]:
    """Return those of the pictures (N, C, H, W) on which no convolution of the graph reads a map of unusual power.

    What the graph makes of them comes with them.
    """
    stream = Stream(graph, images, execute)
    usual = np.ones(len(images), bool)
    reads = set(convolutions(graph))
    for node in graph:
        if node in reads:
            feature_map = np.asarray(stream.read(node.inputs[0]))
            power = np.array([np.vdot(values, values) for values in feature_map])
            usual &= power <= LARGEST_POWER * np.sort(power)[(len(power) - 1) // 2]
        stream.run(node)
    outputs = np.asarray(stream.read(graph.outputs[0]))
    return (images[usual], outputs[usual]) if usual.any() else (images, outputs)


__all__ = ["LARGEST_POWER", "without_outliers"]
