from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from daq_deploy.html_report.chart import HEIGHT, bit_strip, error_panel, marker_sample


def places(svg: ET.Element, series: int) -> list[float]:
    (group,) = [group for group in svg.iter("g") if group.get("data-series") == str(series)]
    return [float(mark.get("cy") or 0) for mark in group.iter("circle")]


def test_worse_layers_stand_lower(content):
    svg = ET.fromstring(error_panel(content.networks))
    heights = places(svg, 0)
    errors = [layer.output_error for layer in content.networks[0].diagnosis.layers[::-1]]
    assert len(heights) == 3
    assert sorted(range(3), key=heights.__getitem__) == sorted(range(3), key=errors.__getitem__)
    assert all(0 < height < HEIGHT for height in heights)


def test_what_is_not_finite_has_no_mark(content):
    network = content.networks[0]
    layers = tuple(
        replace(layer, output_error=error)
        for layer, error in zip(network.diagnosis.layers, (0.0, math.nan, 3.0), strict=True)
    )
    svg = ET.fromstring(error_panel([replace(network, diagnosis=replace(network.diagnosis, layers=layers))]))
    assert len(places(svg, 0)) == 1


def test_a_strip_says_the_bits_of_weights_and_maps(content):
    svg = ET.fromstring(bit_strip(content.networks[1], 1))
    assert [text.text for text in svg.iter("text")] == ["8", "f", "2", "2", "8", "2"]


def test_mixed_bits_are_averaged(content):
    network = content.networks[1]
    layers = (*network.layers[:1], replace(network.layers[1], channel_bits=(2, 3, 4, 4, 4, 4)), network.layers[2])
    svg = ET.fromstring(bit_strip(replace(network, layers=layers), 1))
    assert [text.text for text in svg.iter("text")][3] == "3.5"


def test_many_columns_have_no_numbers(content):
    network = content.networks[0]
    svg = ET.fromstring(bit_strip(replace(network, layers=network.layers * 20), 0))
    assert not list(svg.iter("text"))
    assert len([rect for rect in svg.iter("rect") if rect.get("class") == "target"]) == 60


@pytest.mark.parametrize("series", range(9))
def test_markers_are_drawings(series):
    ET.fromstring(marker_sample(series))
