from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from networks import NETWORKS, PAD, network, rcan

from daq_deploy.passes.graph import convolutions, layer_name
from daq_deploy.passes.roles import convolution_roles, reads_pooled_map

ROLES = {
    "edsr": "head: head; a1 b1 a2 b2: body; close: closing; up: upsampler; tail: tail",
    "rlfn": "head: head; c1 c2: body; e1 e2 e3 e4: attention; close: closing; up: tail",
    "rcan": "head: head; a1 b1: body; down raise: attention; close: closing; up: tail",
    "fsrcnn": "head: head; shrink map expand: body; last: tail",
    "esrgan": "head: head; d1 d2 d3: body; close: closing; up hr: upsampler; tail: tail",
    "grouped": "head: head; deep two small: body; up: tail",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_has_the_role_a_reader_would_give_it(name):
    graph = ir.from_proto(NETWORKS[name]()).graph
    expected = {}
    for group in ROLES[name].split("; "):
        names, role = group.split(": ")
        expected.update(dict.fromkeys(names.split(), role))
    assert {layer_name(node): role for node, role in convolution_roles(graph).items()} == expected


def test_a_network_of_one_convolution_has_a_head():
    graph = ir.from_proto(network(f"y = Conv{PAD}(x, w_weight)", w_weight=(3, 3, 3, 3))).graph
    assert list(convolution_roles(graph).values()) == ["head"]


def test_two_upsampling_stages_and_what_lies_between_are_upsamplers():
    graph = ir.from_proto(
        network(
            f"""h = Conv{PAD}(x, head_weight) b = Conv{PAD}(h, body_weight)
            u1 = Conv{PAD}(b, up1_weight) s1 = DepthToSpace<blocksize = 2, mode = "CRD">(u1)
            u2 = Conv{PAD}(s1, up2_weight) s2 = DepthToSpace<blocksize = 2, mode = "CRD">(u2)
            y = Conv{PAD}(s2, tail_weight)""",
            head_weight=(4, 3, 3, 3), body_weight=(4, 4, 3, 3), up1_weight=(16, 4, 3, 3), up2_weight=(16, 4, 3, 3),
            tail_weight=(3, 4, 3, 3),
        )
    ).graph  # fmt: skip
    assert list(convolution_roles(graph).values()) == ["head", "body", "upsampler", "upsampler", "tail"]


def test_a_gated_product_with_a_constant_is_no_attention():
    graph = ir.from_proto(
        network(
            f"h = Conv{PAD}(x, head_weight) s = Sigmoid(h) m = Mul(s, c) b = Conv{PAD}(m, body_weight) "
            f"y = Conv{PAD}(b, tail_weight)",
            head_weight=(4, 3, 3, 3), body_weight=(4, 4, 3, 3), tail_weight=(3, 4, 3, 3), c=(4, 1, 1),
        )
    ).graph  # fmt: skip
    assert "attention" not in convolution_roles(graph).values()


@pytest.mark.parametrize("gate_first", [False, True])
def test_only_what_lies_between_pool_and_gate_reads_a_pooled_map(gate_first):
    graph = ir.from_proto(rcan(gate_first)).graph
    pooled = {layer_name(node) for node in convolutions(graph) if reads_pooled_map(node)}
    assert pooled == {"down", "raise"}


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("ReduceMean(h, sides)", True),
        ("ReduceMean(h, last_sides)", True),
        ("ReduceMean(h, one_side)", False),
        ("GlobalMaxPool(h)", True),
        ("AveragePool<kernel_shape = [2, 2]>(h)", False),
    ],
)
def test_a_global_pool_is_known_in_every_spelling(pool, expected):
    graph = ir.from_proto(
        network(
            f"h = Conv{PAD}(x, head_weight) p = {pool} y = Conv(p, body_weight)",
            head_weight=(4, 3, 3, 3), body_weight=(3, 4, 1, 1), sides=np.array([2, 3]), last_sides=np.array([-1, -2]),
            one_side=np.array([3]),
        )
    ).graph  # fmt: skip
    assert reads_pooled_map(convolutions(graph)[-1]) is expected
