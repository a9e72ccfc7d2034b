"""What only a GPU can show. Skipped where CUDA does not start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daq_deploy import quantize
from daq_deploy.config import DaqConfig
from daq_deploy.runtime import Session
from daq_deploy.runtime.benchmark import measure
from daq_deploy.runtime.providers import started_providers
from daq_deploy.runtime.synthetic import smooth_image

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("cuda" not in started_providers(), reason="CUDA does not start on this machine"),
]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = ((np.clip(first, 0, 255) - np.clip(second, 0, 255)) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


@pytest.fixture(params=["edsr_f64b5_x2", "rlfn_x4"])
def source(request, shared_data):
    """A plain network, and one whose attention is resized to the size of a map."""
    return shared_data / "onnx" / f"{request.param}.onnx"


@pytest.fixture(params=["float", "daq"])
def network(request, source, tmp_path):
    if request.param == "float":
        return source
    path = tmp_path / "daq.onnx"
    quantize(source, replace(DaqConfig(), weight_rule="nearest")).save(path)
    return path


def test_every_node_runs_on_cuda_and_agrees_with_the_cpu(network):
    with Session(network, "cuda") as cuda, Session(network, "cpu") as cpu:
        assert (cuda.describe().provider, cuda.describe().fallback_nodes) == ("cuda", ())
        image = smooth_image(45, 70)
        # Sums in another order flip codes on a rounding boundary, and those flip more in later layers.
        floor = 80 if cuda.describe().config is None else 40
        assert psnr(cuda.run(image), cpu.run(image)) > floor


def test_a_run_with_the_picture_on_the_device_gives_the_same(network):
    with Session(network, "cuda") as session:
        session.bind(smooth_image(32, 48))()


def test_cuda_is_measured(network):
    result = measure([network], provider="cuda", size=(64, 48), iterations=20)
    assert result.models[0].session.provider == "cuda"
    assert result.machine.gpus
