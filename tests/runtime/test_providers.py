"""Fail closed: with providers that pretend, since most machines that run these tests have no GPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from daq_deploy.errors import OptionError, ProviderError
from daq_deploy.runtime import Session, providers
from daq_deploy.runtime.synthetic import smooth_image

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
RealSession = onnxruntime.InferenceSession


class PretendingSession:
    """Runs on the CPU and says that some nodes ran on CUDA."""

    started = (CUDA, CPU)
    on_cuda: tuple[str, ...] = ()

    def __init__(self, model, options, providers, enable_fallback):
        assert enable_fallback == 0
        self.asked = [name for name, _ in providers]
        self.session = RealSession(model, options, providers=[CPU])

    def get_providers(self):
        return [name for name in self.started if name in self.asked]

    def get_provider_graph_assignment_info(self):
        def part(provider, node):
            return SimpleNamespace(ep_name=provider, get_nodes=lambda: [node])

        nodes = [node for entry in self.session.get_provider_graph_assignment_info() for node in entry.get_nodes()]
        usable = self.on_cuda if CUDA in self.asked else ()
        return [part(CUDA if node.op_type in usable else CPU, node) for node in nodes]

    def __getattr__(self, name):
        return getattr(self.session, name)


@pytest.fixture
def pretend(monkeypatch):
    """Sets what the pretended ONNX Runtime offers, starts, and runs on CUDA."""

    def configure(offered=(CUDA, CPU), started=(CUDA, CPU), on_cuda=("Conv", "Relu", "DepthToSpace")):
        session_class = type("Pretending", (PretendingSession,), {"started": started, "on_cuda": on_cuda})
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(offered))
        monkeypatch.setattr(onnxruntime, "InferenceSession", session_class)

    return configure


needs_assignment = pytest.mark.skipif(
    not hasattr(RealSession, "get_provider_graph_assignment_info"),
    reason="this ONNX Runtime does not say which provider runs a node",
)


def test_the_cpu_is_offered_and_starts():
    assert "cpu" in providers.offered_providers()
    assert "cpu" in providers.started_providers()


def test_cuda_that_is_not_offered_names_the_package(nearest_x2, pretend):
    pretend(offered=[CPU])
    with pytest.raises(ProviderError, match=r"onnxruntime-gpu is not installed.*offers CPU only; pip install") as error:
        Session(nearest_x2(), "cuda")
    assert onnxruntime.__version__ in str(error.value)
    assert "\n" not in str(error.value)


@needs_assignment
def test_cuda_that_does_not_start_names_the_missing_library(nearest_x2, pretend, monkeypatch):
    pretend(started=[CPU], on_cuda=())
    monkeypatch.setattr(providers, "_DRIVER", "libabsent-driver.so.1")
    with pytest.raises(ProviderError, match=r"CUDA does not start: libabsent-driver\.so\.1 is missing") as error:
        Session(nearest_x2(), "cuda")
    assert "\n" not in str(error.value)
    assert providers.started_providers() == ("cpu",)


@needs_assignment
def test_a_node_that_falls_back_is_an_error_that_names_it(nearest_x2, pretend):
    pretend(on_cuda=("Conv", "Relu"))
    with pytest.raises(ProviderError, match=r"1 nodes cannot run on cuda.*\(DepthToSpace\); --allow-fallback"):
        Session(nearest_x2(), "cuda")


@needs_assignment
def test_allowed_fallback_lists_the_nodes_and_runs(nearest_x2, pretend):
    pretend(on_cuda=("Conv", "Relu"))
    session = Session(nearest_x2(), "cuda", allow_fallback=True)
    description = session.describe()
    assert (description.provider, description.fallback_nodes) == ("cuda", ("DepthToSpace",))
    assert session.run(smooth_image(2, 2)).shape == (1, 3, 4, 4)


@needs_assignment
def test_allowed_fallback_without_cuda_lists_every_node(nearest_x2, pretend):
    pretend(offered=[CPU], on_cuda=())
    description = Session(nearest_x2(), "cuda", allow_fallback=True, optimization="disabled").describe()
    assert (description.provider, description.fallback_nodes) == ("cpu", ("Conv", "Relu", "DepthToSpace"))


@needs_assignment
def test_a_network_that_runs_on_cuda_in_whole_opens(nearest_x2, pretend):
    pretend(on_cuda=("Conv", "Relu", "DepthToSpace", "FusedConv"))
    description = Session(nearest_x2(), "cuda").describe()
    assert (description.provider, description.fallback_nodes) == ("cuda", ())


@needs_assignment
def test_computing_sizes_on_the_cpu_is_no_fallback(pretend):
    """As in attention that is resized to the size of what it weighs; ONNX Runtime keeps that off the GPU on purpose."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]>
        resized (float[1, 3, H, W] x) => (float[1, 3, P, Q] y) <int64[1] two = {2}> {
            [convolved] half = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)
            [front] plane = Shape<start = 0, end = 2>(half)
            [sides] side = Shape<start = 2>(x)
            [doubled] sides = Mul(side, two)
            [joined] sizes = Concat<axis = 0>(plane, sides)
            [resized] y = Resize<mode = "linear">(half, , , sizes)
        }"""
    )
    pretend(on_cuda=("MaxPool", "Resize", "Shape"))
    session = Session(model, "cuda")
    assert {node for where, _, node in session.nodes() if where == "cpu"} == {"doubled", "joined"}
    assert session.describe().fallback_nodes == ()
    pretend(on_cuda=("MaxPool", "Shape"))
    with pytest.raises(ProviderError, match=r"1 nodes cannot run on cuda.*\(Resize resized\)"):
        Session(model, "cuda")


@needs_assignment
def test_computing_sizes_in_a_function_is_no_fallback_either(pretend):
    """As in error feedback, which pads rows to whole runs of pixels. The function is called twice: names then differ."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "local": 1]>
        padded (float[1, 3, H, W] x) => (float[1, 3, H, Q] y) {
            once = local.Whole(x)
            y = local.Whole(once)
        }
        <opset_import: ["": 21], domain: "local">
        Whole (x) => (y) {
            [axis] last = Constant<value_ints = [3]>()
            [first] zero = Constant<value_ints = [0]>()
            [run] run = Constant<value_ints = [8]>()
            [width] width = Shape<start = 3>(x)
            [negative] negative = Neg(width)
            [missing] missing = Mod(negative, run)
            [joined] pads = Concat<axis = 0>(zero, missing)
            [padded] y = Pad(x, pads, , last)
        }"""
    )
    pretend(on_cuda=("Pad", "Shape"))
    session = Session(model, "cuda")
    assert [operator for where, operator, _ in session.nodes() if where == "cpu"].count("Mod") == 2
    assert session.describe().fallback_nodes == ()
    assert session.run(smooth_image(4, 5)).shape == (1, 3, 4, 8)
    pretend(on_cuda=("Shape",))
    with pytest.raises(ProviderError, match=r"2 nodes cannot run on cuda.*\(Pad .*padded, Pad .*padded\)"):
        Session(model, "cuda")


def test_an_older_onnxruntime_refuses_fallback_by_itself(nearest_x2, pretend, monkeypatch):
    """Without the record of assignments ONNX Runtime is told to refuse, and allowed nodes are unknown."""
    entries = {}

    class OlderSession:
        def __init__(self, model, options, providers, enable_fallback):
            for key in ("session.disable_cpu_ep_fallback", "session.record_ep_graph_assignment_info"):
                try:
                    entries[key] = options.get_session_config_entry(key)
                except RuntimeError:
                    entries[key] = None
            if entries["session.disable_cpu_ep_fallback"] == "1":
                raise RuntimeError("graph nodes are on CPU, but fallback to CPU EP has been explicitly disabled.\nEND")
            self.session = RealSession(model, options, providers=[CPU])

        def __getattr__(self, name):
            if name == "get_provider_graph_assignment_info":
                raise AttributeError(name)
            return getattr(self.session, name)

    pretend()
    monkeypatch.setattr(onnxruntime, "InferenceSession", OlderSession)
    with pytest.raises(ProviderError, match="some nodes cannot run on cuda"):
        Session(nearest_x2(), "cuda")
    assert Session(nearest_x2(), "cuda", allow_fallback=True).describe().fallback_nodes is None
    assert entries == {"session.disable_cpu_ep_fallback": None, "session.record_ep_graph_assignment_info": None}


def test_cpu_is_never_asked_what_fell_back(nearest_x2, pretend):
    pretend()
    assert Session(nearest_x2(), "cpu").describe().fallback_nodes == ()
    np.testing.assert_array_equal(Session(nearest_x2()).run(np.ones((1, 3, 1, 1), np.float32)), np.ones((1, 3, 2, 2)))


def test_an_unknown_provider_is_refused(nearest_x2):
    with pytest.raises(OptionError, match="--provider rocm: choose one of cpu, cuda"):
        Session(nearest_x2(), "rocm", allow_fallback=True)
