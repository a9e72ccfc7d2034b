"""Error feedback in every form of a graph: batches, levels, functions and inlined, frozen ranges, native."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx.checker
import onnx_ir as ir
import pytest
from feedbacks import fed_back
from native_graphs import assert_equal_but_for_ties, fusion_of, kinds, of_bits, signal_to_noise
from native_reference import evaluate
from networks import picture, run, wide

from daq_deploy.passes.blocks import find_blocks
from daq_deploy.passes.expose_ranges import ExposeRanges
from daq_deploy.passes.freeze_ranges import FreezeRanges
from daq_deploy.validation.codes import code_outputs, count_differences, oracle
from tests.passes.test_range_passes import range_names
from tests.passes.test_range_passes import run as run_with

EDGES = {"edges": ("head", "tail")}


@pytest.mark.parametrize("config", [of_bits(4), of_bits(4, levels="even"), of_bits(6), of_bits(2)])
@pytest.mark.parametrize("images", [1, 2])
def test_codes_of_all_layers_are_the_oracles(config, images):
    model = fed_back(wide(), replace(config, **EDGES, dynamic_batch=images > 1))
    blocks = [block for block in find_blocks(model) if block.feedback is not None]
    assert len(blocks) == 5
    values = run_with(model, {"x": picture(14, 11, images)}, tuple(code_outputs(blocks)))
    for block in blocks:
        feature_map, step = values[block.feature_map.name], values[block.step.name]
        codes = values[block.codes.name].reshape(feature_map.shape)
        expected = oracle(feature_map, block)
        assert count_differences(block, feature_map, codes, step.reshape(codes.shape[:2]), expected)[1] == 0


@pytest.mark.parametrize("levels", ["even", "companded"])
def test_an_inlined_graph_computes_the_same_and_blocks_are_found_in_it(levels):
    outputs, found = [], []
    for inline in (False, True):
        model = fed_back(wide(), of_bits(4, levels=levels, **EDGES), inline=inline)
        blocks = [block for block in find_blocks(model) if block.feedback is not None]
        found.append([(block.feature_map.name, block.companded, block.feedback.order) for block in blocks])
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        outputs.append(run(proto, picture(12, 16), "DISABLE_ALL"))
    assert found[0] == found[1] != []
    assert np.array_equal(*outputs)


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("freeze", [False, True])
def test_the_same_ranges_give_the_same_output(inline, freeze):
    model = fed_back(wide(), of_bits(4, **EDGES), inline=inline)
    image, names = picture(24, 30), range_names(model)
    found = run_with(model, {"x": image}, names)
    ranges = {name: found[name] for name in names}
    assert (FreezeRanges(ranges) if freeze else ExposeRanges())(model).modified
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert sum(block.feedback is not None for block in find_blocks(model)) == 5
    given = {} if freeze else ranges
    np.testing.assert_array_equal(run_with(model, {"x": image, **given})["y"], found["y"])


@pytest.mark.parametrize("config", [of_bits(4), of_bits(4, levels="even"), of_bits(3, dynamic_batch=True)])
@pytest.mark.parametrize("inline", [False, True])
def test_a_fused_network_gives_what_the_portable_one_gives(config, inline):
    model = fed_back(wide(), replace(config, **EDGES), inline=inline)
    image = picture(24, 20)
    proto = assert_equal_but_for_ties(model, image, 30.0)
    assert not fusion_of(proto).of_kind("left")
    assert "ErrorFeedback" not in " ".join(kinds(proto))
    half = evaluate(proto, image)[proto.graph.output[0].name]
    assert signal_to_noise(half, run(ir.to_proto(model), image, "DISABLE_ALL")) > 12.0
