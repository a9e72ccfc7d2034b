"""Compare the codes of a graph with those of a second implementation, on the same feature maps.

Codes may differ only where (x - lo) / step lies on a rounding boundary, and then by one. How near counts as "on" is

    1e-4 + 4 * eps * (|lo| + range) / step        eps of float32, range = 2^bits * largest step of the layer with
                                                  `range_bits`, else 0

The second term is what float32 costs. It is far below 1e-4 but in channels that hardly vary around a large mean: there
one unit in the last place of lo is a good part of a step, or many steps, and codes may be as many apart. With `range_bits`
the spreads of a layer's channels share one quantizer, so that the rounding of the largest reaches the smallest; and a
spread that itself lies on a rounding boundary changes the step of its whole channel. Such channels show by their step, are
few (at most one in a hundred of a layer, or one), and their codes are not compared.

Companded levels are compared by their numbers, counted from the origin. Where the second term is a hundredth of a unit or
more, or the unit the smallest there is, the origin itself is a matter of rounding, and codes are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from daq_deploy.numerics import TINY, ChannelRange, ChannelStatistics, channel_range, quantize, with_feedback
from daq_deploy.numerics.companding import fractional_level, highest_position, nearest_level, position_of
from daq_deploy.passes.blocks import DaqBlock

from .report import CodeDifference
from .sessions import OutputRunner, batches

NEAR = 1e-4
"""Distance from a rounding boundary, in steps, within which implementations may round differently."""

UNTOLD = 1e-2
"""Distance from a rounding boundary, in units, from which on implementations may put the origin elsewhere."""

Quantizer = Callable[[npt.NDArray[np.float32], DaqBlock], npt.NDArray[np.uint8]]
"""From a feature map (N, C, H, W) to its codes."""


def oracle(feature_map: npt.NDArray[np.float32], block: DaqBlock) -> npt.NDArray[np.uint8]:
    """Quantize by the numpy oracle."""
    channels = _range_of(feature_map, block)
    if block.feedback is not None:
        feature_map = with_feedback(feature_map, channels, block.bits, block.feedback)
    return quantize(feature_map, channels, block.bits)


def compare_codes(
    runner: OutputRunner,
    image: npt.NDArray[np.float32],
    blocks: Sequence[DaqBlock],
    names: Mapping[ir.Node, str],
    quantizer: Quantizer,
) -> tuple[CodeDifference, ...]:
    """Run a network and compare the codes of its blocks with `quantizer`'s on the feature maps that the blocks read.

    Args:
        runner: session with `code_outputs(blocks)` as extra outputs.
        image: float32 (1, C, H, W).
        blocks: of the network.
        names: of its convolutions.
        quantizer: the second implementation.
    """
    differences = []
    for some in batches(blocks):
        values = runner.run_outputs(image, code_outputs(some))
        for block in some:
            feature_map = image if block.feature_map.is_graph_input() else values[str(block.feature_map.name)]
            codes = values[str(block.codes.name)].reshape(feature_map.shape)
            step = values[str(block.step.name)].reshape(feature_map.shape[:2])
            ties, wrong = count_differences(block, feature_map, codes, step, quantizer(feature_map, block))
            layers = tuple(names[node] for node in block.convolutions)
            differences.append(CodeDifference(layers, codes.size, ties, wrong))
    return tuple(differences)


def code_outputs(blocks: Sequence[DaqBlock]) -> list[str]:
    """Return the names of the tensors that comparing needs; the picture itself is none."""
    values = [value for block in blocks for value in (block.feature_map, block.codes, block.step)]
    return list(dict.fromkeys(str(value.name) for value in values if not value.is_graph_input()))


def count_differences(
    block: DaqBlock,
    feature_map: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    step: npt.NDArray[np.float32],
    expected: npt.NDArray[np.uint8],
) -> tuple[int, int]:
    """Count the codes that differ where rounding may differ, and where it must not.

    Args:
        block: how the codes were made.
        feature_map: what was quantized, (N, C, H, W).
        codes: those of the graph, (N, C, H, W).
        step: with which the graph made them, (N, C).
        expected: those of the second implementation, (N, C, H, W).
    """
    channels = _range_of(feature_map, block)
    near = _near(block, channels)[:, :, None, None]
    allowed = np.ones(codes.shape, bool)
    for codes_of_one in (codes, expected):
        distance = _distance_from_level(block, feature_map, channels, codes_of_one)
        allowed &= distance <= 0.5 + near
    if block.companded:
        allowed |= (near >= UNTOLD) | (channels.step <= TINY)[:, :, None, None]
    if block.range_bits is not None:
        other_step = np.abs(step / channels.step - 1) > NEAR
        few = other_step.sum(axis=1, keepdims=True) <= max(1, other_step.shape[1] // 100)
        allowed |= (other_step & few)[:, :, None, None]
    differs = codes != expected
    return int((differs & allowed).sum()), int((differs & ~allowed).sum())


def _distance_from_level(
    block: DaqBlock, feature_map: npt.NDArray[np.float32], channels: ChannelRange, codes: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """Return how far each value is from the level that its code stands for, counted in levels; half or less is the nearest.

    With error feedback a tie moves what is rounded later: there a value is what the codes before it make of it.
    """
    if block.feedback is not None:
        feature_map = with_feedback(feature_map, channels, block.bits, block.feedback, codes)
    position = (feature_map.astype(np.float64) - channels.lo[:, :, None, None]) / channels.step[:, :, None, None]
    position = np.clip(position, 0, highest_position(block.bits, channels.origins)[:, :, None, None])
    origin = channels.origins[:, :, None, None]
    value = np.where(origin < 0, position, fractional_level(position - origin))
    distance: npt.NDArray[np.float64] = np.abs(_level_numbers(codes, origin) - value)
    return distance


def _level_numbers(codes: npt.NDArray[np.uint8], origin: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the numbers of the levels of codes, counted from the origin of companded levels; NaN where there is none."""
    position = codes.astype(np.float32)
    number = nearest_level(position - origin)
    is_level = position_of(number) + origin == position
    return np.where(origin < 0, position, np.where(is_level, number, np.nan))


def _range_of(feature_map: npt.NDArray[np.float32], block: DaqBlock) -> ChannelRange:
    statistics = ChannelStatistics.of(feature_map)
    return channel_range(
        statistics, block.bits, block.rule, block.signed, block.range_bits, block.tail, block.companded
    )


def _near(block: DaqBlock, channels: ChannelRange) -> npt.NDArray[np.float64]:
    """Return the distance from a boundary, in steps of each channel (N, C), that counts as on it."""
    step = channels.step.astype(np.float64)
    magnitude = np.abs(channels.lo.astype(np.float64))
    if block.range_bits is not None:
        magnitude += 2.0**block.bits * step.max(axis=1, keepdims=True)
    near: npt.NDArray[np.float64] = NEAR + 4 * np.finfo(np.float32).eps * magnitude / step
    return near


__all__ = ["NEAR", "Quantizer", "code_outputs", "compare_codes", "count_differences", "oracle"]
