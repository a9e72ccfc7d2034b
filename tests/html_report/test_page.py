from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from daq_deploy.html_report import ReportContent, render
from daq_deploy.html_report.page import PAGE_BYTES

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Attributes of every element, and whether elements are closed in the order they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def data_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_the_page_is_well_formed_and_loads_nothing(content: ReportContent):
    text = render(content)
    page = Page(text)
    assert page.open == []
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text


def test_every_picture_has_an_alternative_text(content: ReportContent):
    images = [attributes for tag, attributes in Page(render(content)).elements if tag == "img" and "src" in attributes]
    assert len(images) == len(content.versions)
    assert all(attributes["alt"] for attributes in images)
    assert len({attributes["alt"] for attributes in images}) == len(images)


def test_every_figure_is_in_the_table(content: ReportContent):
    table = re.findall(r"<tr>.*?</tr>", render(content), re.DOTALL)
    (row,) = [row for row in table if ">2 bits</th>" in row]
    cells = re.findall(r'data-value="([^"]*)"', row)
    assert cells == ["3", "W2A2", "32", "0.9", "36.0", "800.0", "119.0", "60.0"]
    assert ">800<" in row
    assert "0.09 ×" in row
    assert "1.19 ×" in row
    (row,) = [row for row in table if ">8 bits</th>" in row and "data-value" in row]
    assert 'data-value=""' in row  # memory that was not measured


def test_without_an_original_there_are_no_columns_for_it(content: ReportContent):
    bare = replace(
        content,
        score_convention=None,
        versions=tuple(replace(version, scores=None) for version in content.versions if version.kind != "original"),
    )
    assert "PSNR-Y" not in render(bare)
    assert "SSIM-Y" in render(content)


def test_names_cannot_break_out_of_the_page(content: ReportContent):
    evil = '</script><img src=x onerror="alert(1)">&'
    text = render(
        replace(
            content,
            network=evil,
            picture=evil,
            versions=tuple(replace(version, name=version.name + evil) for version in content.versions),
            networks=tuple(
                replace(
                    network,
                    name=network.name + evil,
                    file=evil,
                    layers=tuple(replace(layer, name=layer.name + evil) for layer in network.layers),
                )
                for network in content.networks
            ),
        )
    )
    assert "<img src=x" not in text
    assert Page(text).open == []
    assert data_of(text)["layers"][0]["name"] == "head" + evil


def test_figures_that_are_not_finite_are_left_out(content: ReportContent):
    def spoil(network):
        layers = tuple(replace(layer, output_error=0.0, weight_sqnr=float("inf")) for layer in network.diagnosis.layers)
        return replace(network, diagnosis=replace(network.diagnosis, layers=layers))

    equal = replace(content.versions[3], psnr_to_float=float("inf"))
    versions = (*content.versions[:3], equal, content.versions[4])
    text = render(replace(content, versions=versions, networks=tuple(map(spoil, content.networks))))
    assert data_of(text)["networks"][0]["layers"][0]["output"] is None
    assert ">equal<" in text
    assert not re.search(
        r"\b(nan|inf|Infinity)\b",
        re.sub(r"<script>.*|data:[^\"]*", "", text, flags=re.DOTALL).replace('data-value="inf"', ""),
    )


def test_checks_that_fail_are_told(content: ReportContent):
    assert "All 2 checks passed" in render(content)
    first, second = content.networks
    bad = replace(second, checks=(replace(second.checks[0], outcome="failed", detail="3 of 100 codes"),))
    text = render(replace(content, networks=(first, bad)))
    assert "1 of 2 checks failed" in text
    assert "failed: 3 of 100 codes" in text
    assert "<details open>" in text


def test_heat_maps_hold_what_was_measured(content: ReportContent):
    ranges = data_of(render(content))["networks"][0]["ranges"]
    assert ranges[0] is None
    assert ranges[1]["lo"] == [-0.5, -1, -1.5, -2, -2.5, -3]
    assert len(ranges[1]["density"]) == 6 * ranges[1]["bins"]
    assert ranges[1]["density"].startswith("0123456789abcdef")


@pytest.mark.parametrize("shape", [(700, 1000), (2000, 400)])
def test_a_page_stays_below_its_size_whatever_the_picture(content: ReportContent, shape):
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)  # nothing compresses worse
    versions = tuple(replace(version, pixels=noise) for version in content.versions)
    text = render(replace(content, versions=versions))
    assert 0.5 * PAGE_BYTES < len(text.encode()) < PAGE_BYTES
    assert re.search(r"Shown are \d+×\d+ of \d+×\d+ pixels", text)
    assert "Shown are" not in render(content)
