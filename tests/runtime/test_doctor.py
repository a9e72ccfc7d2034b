from __future__ import annotations

import json

import onnx_ir as ir
import pytest
from networks import edsr

from daq_deploy import DaqConfig, quantize
from daq_deploy.errors import DaqError, ModelError, OptionError
from daq_deploy.runtime import doctor
from daq_deploy.runtime.doctor import check_up
from daq_deploy.runtime.library import NativeLibrary, library_path
from daq_deploy.runtime.self_test import KernelCheck, TierCheck

needs_library = pytest.mark.skipif(library_path() is None, reason="this installation was made without a C++ compiler")


def test_a_healthy_machine_has_no_problems():
    found = check_up(with_self_test=False)
    assert found.problems == ()
    assert {state.name: state.problem for state in found.providers}["cpu"] is None
    assert found.default_threads >= 1
    assert json.loads(json.dumps(found.to_dict()))["placement"] is None


def test_extras_are_those_of_the_package():
    extras = {extra.name: extra for extra in doctor.installed_extras()}
    assert set(extras["export"].packages) == {"torch", "onnxscript", "safetensors"}
    assert "dev" not in extras
    assert extras["export"].installed == all(extras["export"].packages.values())


def test_a_package_that_is_absent_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["absent-package>=3; extra == 'export'", "numpy>=1.26"])
    (extra,) = doctor.installed_extras()
    assert extra.packages == {"absent-package": None}
    assert not extra.installed


def test_every_node_has_its_place(nearest_x2_file):
    found = check_up(nearest_x2_file, with_self_test=False)
    assert found.problems == ()
    assert found.placement is not None
    assert sum(found.placement.counts["cpu"].values()) == len(found.placement.nodes) > 0


@needs_library
def test_what_native_kernels_run_is_told(tmp_path, nearest_x2_file):
    found = check_up(nearest_x2_file, with_self_test=False).placement
    assert found is not None
    assert (found.layers, found.without_native) == ((), "the file is float")
    config = DaqConfig(weight_rule="nearest", range_rule="paper")
    quantize(ir.from_proto(edsr()), config).save(tmp_path / "net.onnx")
    found = check_up(tmp_path / "net.onnx", with_self_test=False).placement
    assert found is not None
    assert found.without_native == ""
    assert len(found.layers) == 8


def test_cuda_that_is_asked_for_and_does_not_start_is_a_problem(monkeypatch, nearest_x2_file):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert check_up(with_self_test=False).problems == ()  # nobody asked for it
    found = check_up(nearest_x2_file, provider="cuda", with_self_test=False)
    assert "onnxruntime-gpu is not installed" in found.problems[0]
    assert "nodes do not run on cuda" in found.problems[1]


def test_a_kernel_that_fails_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "load_library", lambda: NativeLibrary(tmp_path / "l.so", "avx2", "because"))
    bad = TierCheck("avx2", (KernelCheck("daq.native.Conv", False, "3 dB from the oracle"),), None)
    monkeypatch.setattr(doctor, "check_tier", lambda isa: bad if isa == "avx2" else None)
    assert check_up().problems == ("avx2: daq.native.Conv: 3 dB from the oracle",)


def test_an_instruction_set_that_is_not_there_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "load_library", lambda: NativeLibrary(tmp_path / "l.so", "avx2", "asks for too much"))
    monkeypatch.setenv("DAQ_ISA", "amx")
    assert check_up(with_self_test=False).problems == ("asks for too much",)
    monkeypatch.setenv("DAQ_ISA", "avx2")
    assert check_up(with_self_test=False).problems == ()


def test_a_library_that_does_not_load_is_a_problem_and_none_is_not(monkeypatch):
    def broken() -> None:
        raise DaqError("libdaq_native.so: cannot be loaded")

    monkeypatch.setattr(doctor, "load_library", broken)
    assert check_up().problems == ("libdaq_native.so: cannot be loaded",)
    monkeypatch.setattr(doctor, "load_library", lambda: None)
    found = check_up()
    assert found.problems == ()
    assert "without a C++ compiler" in found.library.isa_reason


def test_the_limit_of_a_container_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_CPU_LIMIT", tmp_path / "cpu.max")
    assert check_up(with_self_test=False).cpu_limit is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert check_up(with_self_test=False).cpu_limit is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert check_up(with_self_test=False).cpu_limit == 1.5


def test_two_threads_of_a_core_count_once(monkeypatch, tmp_path):
    processors = [(0, 0), (0, 1), (0, 0), (0, 1), (1, 0)]
    blocks = [
        f"processor\t: {n}\nphysical id\t: {p}\nsiblings\t: 4\ncore id\t\t: {c}\n"
        for n, (p, c) in enumerate(processors)
    ]
    monkeypatch.setattr(doctor, "_CPU_INFORMATION", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("\n".join(blocks))
    assert doctor._physical_cores() == 3
    (tmp_path / "cpuinfo").write_text("processor : 0\n")
    assert doctor._physical_cores() is None


def test_what_cannot_be_looked_at_is_refused(tmp_path):
    with pytest.raises(OptionError):
        check_up(provider="abacus")
    with pytest.raises(ModelError):
        check_up(tmp_path / "absent.onnx", with_self_test=False)
