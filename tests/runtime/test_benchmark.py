"""That figures are computed right; how fast anything is, is not tested."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq_deploy.errors import ModelError, OptionError
from daq_deploy.runtime import benchmark
from daq_deploy.runtime.benchmark import measure, summarize
from daq_deploy.runtime.machine import this_machine
from daq_deploy.runtime.memory import peak_memory


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=40))
def test_a_network_against_itself_has_ratio_one(samples):
    timing = summarize(samples, samples)
    assert timing.ratio == 1
    assert timing.p50 == np.median(samples)
    assert (timing.p90 is None) == (len(samples) < 10)
    assert timing.p99 is None
    assert timing.samples == tuple(samples)


def test_the_ratio_is_taken_pair_by_pair():
    """A machine that slows down tenfold halfway does so for both; the ratio does not see it."""
    first = [1.0, 1.0, 10.0, 10.0, 10.0]
    assert summarize([2.0, 2.0, 20.0, 20.0, 20.0], first).ratio == 2
    assert summarize([2.0, 20.0, 2.0], [1.0, 10.0, 100.0]).ratio == 2


def test_percentiles_need_a_sample_that_has_them():
    times = list(np.linspace(1, 2, 1000))
    assert summarize(times, times).p99 == pytest.approx(1.99)
    assert summarize(times[:999], times[:999]).p99 is None
    assert summarize([1.0] * 10, [1.0] * 10).p90 == 1


def test_variation_is_the_deviation_over_the_mean():
    assert summarize([1.0, 3.0], [1.0, 3.0]).variation == pytest.approx(0.5)
    assert summarize([4.0, 4.0], [4.0, 4.0]).variation == 0


def test_runs_are_interleaved_and_counted(monkeypatch):
    calls: list[str] = []
    done: list[float] = []
    runs = [benchmark.timed(lambda: calls.append("A")), benchmark.timed(lambda: calls.append("B"))]
    samples = benchmark.interleave(runs, duration=100.0, iterations=4, progress=done.append)
    assert "".join(calls) == "ABABABAB"
    assert [len(times) for times in samples] == [4, 4]
    assert done == [0.25, 0.5, 0.75, 1.0]


def test_duration_counts_the_quickest_network(monkeypatch):
    """On a clock that each run moves on: A takes 1 s, B takes 3 s; both must have run 5 s."""
    now = [0]
    monkeypatch.setattr(benchmark.time, "perf_counter_ns", lambda: now[0])

    def run_of(seconds: int):
        def run() -> None:
            now[0] += seconds * 10**9

        return benchmark.timed(run)

    samples = benchmark.interleave([run_of(1), run_of(3)], duration=5.0)
    assert samples == [[1000.0] * 5, [3000.0] * 5]
    slow = benchmark.interleave([run_of(60)], duration=5.0)
    assert len(slow[0]) == 3


def test_two_networks_are_measured(nearest_x2_file, nearest_x2, tmp_path):
    other = tmp_path / "other.onnx"
    onnx.save(nearest_x2(value_range="1.0"), other)
    result = measure([nearest_x2_file, other], threads=1, size=(24, 16), iterations=12)
    first, second = result.models
    assert (result.width, result.height, result.input) == (24, 16, "smooth synthetic picture")
    assert (first.output_width, first.output_height) == (48, 32)
    assert first.file_bytes == nearest_x2_file.stat().st_size < second.file_bytes
    assert first.megapixels_per_second == pytest.approx(48 * 32 / first.timing.p50 / 1e3)
    assert first.timing.ratio == 1
    assert len(second.timing.samples) == 12
    document = json.loads(result.to_json())
    assert len(document["models"][1]["timing"]["samples"]) == 12
    assert document["machine"]["cpu"] == result.machine.cpu
    headings, *rows = result.rows()
    assert [row[0] for row in rows] == ["nearest_x2.onnx", "other.onnx"]
    assert all(len(row) == len(headings) for row in rows)
    assert rows[0][headings.index("p99 ms")] == "n too small"
    assert "24x16" in result.conditions()
    assert "12 interleaved runs" in result.conditions()


def test_files_of_one_name_are_told_apart_and_doubtful_figures_warned_of(nearest_x2_file, tmp_path):
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / nearest_x2_file.name
    again.write_bytes(nearest_x2_file.read_bytes())
    picture = np.zeros((4, 6, 3), np.uint8)
    result = measure([nearest_x2_file, again], picture=picture, iterations=1)
    assert (result.width, result.height, result.input) == (6, 4, "given picture")
    assert [row[0] for row in result.rows()[1:]] == [str(nearest_x2_file), str(again)]
    assert result.warnings() == ()
    from dataclasses import replace

    first = result.models[0]
    unsteady = replace(first, timing=replace(first.timing, variation=0.2))
    fallen = replace(first, session=replace(first.session, fallback_nodes=("Conv a",)))
    unsteady_warning, fallback_warning = replace(result, models=(unsteady, fallen)).warnings()
    assert "vary by 20%" in unsteady_warning
    assert "not every node" in fallback_warning


def test_what_makes_no_sense_is_refused(nearest_x2_file):
    for options, message in (
        ({"duration": 0.0}, "--duration"),
        ({"iterations": 0}, "--iterations"),
        ({"size": (0, 4)}, "--size"),
        ({"duration": float("nan")}, "--duration"),
    ):
        with pytest.raises(OptionError, match=message):
            measure([nearest_x2_file], **options)
    with pytest.raises(OptionError, match="at least one model"):
        measure([])


def test_peak_memory_grows_with_the_picture(nearest_x2_file):
    small, large = (peak_memory(nearest_x2_file, side, side, threads=1) for side in (8, 1024))
    if small is None or large is None:
        pytest.skip("this system has no /proc")
    # 1024 x 1024: the input alone is 12 MB, the feature map and the output 50 MB each.
    assert large - small > 100e6
    assert small < 60e6


def test_memory_of_a_network_that_cannot_run_says_so(tmp_path):
    if peak_memory.__globals__["_STATUS"].exists():
        with pytest.raises(ModelError, match=r"absent\.onnx: measuring its memory ended"):
            peak_memory(tmp_path / "absent.onnx", 8, 8)


def test_the_machine_is_described():
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
