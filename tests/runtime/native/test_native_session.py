"""Sessions with the native library: when it is used and what they say, many threads, many sessions, too little memory."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest
from feedbacks import fed_back
from networks import PAD, edsr, fsrcnn, grouped, network, picture, rlfn

from daq_deploy.config import DaqConfig
from daq_deploy.errors import ModelError
from daq_deploy.fusion import fuse
from daq_deploy.metrics import psnr
from daq_deploy.quantization import quantize
from daq_deploy.runtime import library
from daq_deploy.runtime.session import Session

NEAREST = DaqConfig(weight_rule="nearest")

needs_library = pytest.mark.skipif(
    library.library_path() is None, reason="installed without a C++ compiler: no library"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


def daq(model: onnx.ModelProto, config: DaqConfig = NEAREST) -> ir.Model:
    return quantize(ir.from_proto(model), config).model


def data_of(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString()


@pytest.fixture(scope="module")
def daq_edsr() -> bytes:
    return data_of(daq(edsr()))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "library_path", lambda: None)


@needs_library
@pytest.mark.parametrize("levels", ["even", "companded"])
def test_fed_back_errors_are_the_same_in_native_kernels(levels):
    proto = network(
        f"head = Conv{PAD}(x, head_weight) r = Relu(head) y = Conv{PAD}(r, tail_weight)",
        head_weight=(20, 3, 3, 3), tail_weight=(16, 20, 3, 3),
    )  # fmt: skip
    config = replace(NEAREST, weight_bits=8, levels=levels, edges=("head",))
    data, image = data_of(fed_back(proto, config)), picture(40, 30)
    native, portable = (Session(data, threads=1, native=native).run(image) for native in (True, False))
    without = Session(data_of(daq(proto, config)), threads=1, native=False).run(image)
    assert psnr(native, portable) > psnr(without, portable) + 3  # ties move what is rounded after them


@needs_library
def test_a_daq_file_runs_in_the_native_kernels_and_says_so(daq_edsr):
    session = Session(daq_edsr, threads=1)
    description = session.describe()
    assert description.native_library == str(library.library_path())
    assert description.instruction_set in ("amx", "avx512_vnni", "avx_vnni", "avx2", "portable")
    assert (description.without_native, session.without_native) == ("", "")
    assert [layer.kind for layer in description.fused_layers] == ["float"] + ["native"] * 6 + ["exact"]
    assert session.scale == 2
    portable = Session(daq_edsr, threads=1, native=False)
    assert portable.describe().fused_layers == ()
    assert psnr(session.run(picture(20, 24)), portable.run(picture(20, 24))) > 15  # random weights: outputs reach 1500


@needs_library
def test_layers_that_are_left_are_told_with_their_reason():
    layers = Session(data_of(daq(fsrcnn())), threads=1).describe().fused_layers
    assert [(layer.name, layer.reason) for layer in layers if layer.kind == "left"] == [
        ("last", "transposed convolution")
    ]


@needs_library
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"native": False}, "native kernels are turned off"),
        ({"optimization": "basic"}, "optimization basic shows the graph as it is in the file"),
        ({"extra_outputs": ["s1"]}, "tensors inside the graph are asked for"),
    ],
)
def test_a_session_without_native_kernels_says_why(daq_edsr, options, reason):
    session = Session(daq_edsr, threads=1, **options)
    description = session.describe()
    assert (description.native_library, description.instruction_set, description.without_native) == (None, None, reason)
    assert session.run(picture(8, 9)).shape == (1, 3, 16, 18)


def test_a_float_file_has_no_use_for_native_kernels():
    assert Session(edsr(), threads=1).without_native


def test_without_the_library_a_daq_file_runs_all_the_same(daq_edsr, no_library):
    session = Session(daq_edsr, threads=1)
    assert "has no native library" in session.without_native
    assert session.run(picture(8, 9)).shape == (1, 3, 16, 18)


@pytest.mark.parametrize(("options", "reason"), [({}, "has no native library"), ({"native": False}, "are turned off")])
def test_a_fused_file_says_what_it_needs(options, reason, no_library):
    proto = ir.to_proto(fuse(daq(edsr())).model)
    with pytest.raises(ModelError, match=rf"is a native graph, which needs .*{reason}.*DAQ file") as error:
        Session(proto, **options)
    assert "\n" not in str(error.value)


@needs_library
def test_a_fused_file_runs_and_tells_what_it_is(daq_edsr):
    session = Session(ir.to_proto(fuse(daq(edsr())).model), threads=1)
    np.testing.assert_array_equal(session.run(picture(8, 9)), Session(daq_edsr, threads=1).run(picture(8, 9)))
    assert session.describe().fused_layers == Session(daq_edsr, threads=1).describe().fused_layers


@needs_library
def test_a_fused_file_with_damaged_metadata_is_refused():
    proto = ir.to_proto(fuse(daq(edsr())).model)
    onnx.helper.set_model_props(proto, {"daq.native": "{"})
    with pytest.raises(ModelError, match="metadata are damaged"):
        Session(proto)


def test_a_library_that_does_not_load_is_not_used(daq_edsr, tmp_path, monkeypatch):
    broken = tmp_path / library.FILE_NAME
    broken.write_bytes(b"no library")
    monkeypatch.setattr(library, "library_path", lambda: broken)
    session = Session(daq_edsr, threads=1)
    assert "cannot be loaded" in session.without_native
    assert session.run(picture(8, 9)).shape == (1, 3, 16, 18)


@needs_library
def test_a_network_of_which_nothing_is_native_keeps_native_ranges():
    model = daq(grouped(), replace(NEAREST, include="deep|two"))
    session = Session(data_of(model), threads=1)
    assert session.without_native == ""
    found = session.run(picture(12, 13))
    truth = Session(data_of(model), threads=1, native=False).run(picture(12, 13))
    assert np.square(found - truth).sum() < 1e-4 * np.square(truth).sum()


@needs_library
def test_a_batch_gives_what_its_pictures_give_alone():
    session = Session(data_of(daq(edsr(), replace(NEAREST, dynamic_batch=True))), threads=1)
    images = picture(9, 11, images=3)
    together = session.run(images)
    for image, found in zip(images, together, strict=True):
        np.testing.assert_array_equal(session.run(image[None])[0], found)


@needs_library
def test_a_native_session_is_pickled_as_what_it_was_opened_with(daq_edsr):
    for native in (True, False):
        session = Session(daq_edsr, threads=1, native=native)
        again = pickle.loads(pickle.dumps(session))
        assert again.describe() == session.describe()
        np.testing.assert_array_equal(again.run(picture(5, 6)), session.run(picture(5, 6)))


@needs_library
@pytest.mark.parametrize("threads", [1, 2])
def test_one_session_is_used_from_eight_threads_at_once(threads):
    session = Session(data_of(daq(rlfn())), threads=threads)
    pictures = [picture(20 + index, 41 - index) for index in range(8)]
    expected = [session.run(image) for image in pictures]
    fresh = Session(data_of(daq(rlfn())), threads=threads)  # its kernels are built by whoever comes first
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for found, truth in zip(pool.map(fresh.run, pictures), expected, strict=True):
                np.testing.assert_array_equal(found, truth)


@needs_library
def test_threads_change_nothing(daq_edsr):
    one, two = (Session(daq_edsr, threads=threads).run(picture(37, 41)) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def resident() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


@needs_library
@needs_proc
def test_a_hundred_sessions_leave_nothing_behind(daq_edsr):
    def open_and_run(times: int) -> None:
        for _ in range(times):
            with Session(daq_edsr, threads=1) as session:
                session.run(picture(24, 20))

    open_and_run(30)
    before = resident()
    open_and_run(100)
    assert resident() - before < 12e6


@needs_library
@needs_proc
def test_more_runs_take_no_more_memory(daq_edsr):
    session, image = Session(daq_edsr, threads=1), picture(500, 500)
    session.run(image)
    before = resident()
    for _ in range(3):
        session.run(image)
    assert resident() - before < 4e6  # a map of the body takes 8


@needs_library
@needs_proc
def test_layers_share_their_working_memory():
    body = " ".join(f"a{index} = Conv{PAD}(r{index}, w) r{index + 1} = Relu(a{index})" for index in range(16))
    proto = network(
        f"head = Conv{PAD}(x, head_weight) r0 = Relu(head) {body} y = Conv{PAD}(r16, tail_weight)",
        head_weight=(16, 3, 3, 3), w=(16, 16, 3, 3), tail_weight=(3, 16, 3, 3),
    )  # fmt: skip
    session = Session(data_of(daq(proto)), threads=1)
    before = resident()
    session.run(picture(2, 40_000))
    assert resident() - before < 40e6  # the rows of codes of a layer take 6


@needs_library
@needs_proc
def test_a_sum_takes_the_place_of_its_operand(monkeypatch):
    blocks = " ".join(
        f"a{index} = Conv{PAD}(h{index}, w) r{index} = Relu(a{index}) b{index} = Conv{PAD}(r{index}, w) "
        f"h{index + 1} = Add(b{index}, h{index})"
        for index in range(3)
    )
    proto = network(
        f"h0 = Conv{PAD}(x, head_weight) {blocks} own = Conv{PAD}(h3, w) s = Add(own, h3) y = Conv{PAD}(s, tail_weight)",
        head_weight=(32, 3, 3, 3), w=(32, 32, 3, 3), tail_weight=(3, 32, 3, 3),
    )  # fmt: skip
    model, image = data_of(daq(proto)), picture(400, 400)

    def run() -> tuple[np.ndarray, int]:
        with Session(model, threads=2) as session:
            before = resident()
            return session.run(image), resident() - before

    in_place, memory = run()
    monkeypatch.setattr("daq_deploy.passes.native.nodes._say_same_size", lambda *maps: None)
    apart, memory_apart = run()
    np.testing.assert_array_equal(in_place, apart)
    assert memory < memory_apart - 5e6  # a map takes 10


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from daq_deploy.errors import ModelError
from daq_deploy.runtime.session import Session
session = Session(sys.argv[1], threads=1)
session.run(np.zeros((1, 3, 8, 8), np.float32))
image = np.zeros((1, 3, 2000, 2000), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
try:
    session.run(image)
except ModelError as error:
    print(error)
print(session.run(np.zeros((1, 3, 8, 8), np.float32)).shape)
"""


@needs_library
@needs_proc
def test_too_little_memory_is_an_error_that_names_the_operator(daq_edsr, tmp_path):
    path = tmp_path / "daq.onnx"
    path.write_bytes(daq_edsr)
    found = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(path)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    message, shape = found.stdout.splitlines()
    assert "cannot run on a picture of 2000x2000 pixels" in message
    assert "Conv" in message
    assert shape == "(1, 3, 16, 16)"  # the session is still good
