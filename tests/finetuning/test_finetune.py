"""Runs of the command: they learn, go on where they were killed, share a batch, and fail in one line."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from daq_deploy.cli import build_app
from daq_deploy.cli.finetune import finetune
from daq_deploy.errors import CheckFailed, CheckpointError, DaqError, OptionError, OutputExistsError
from daq_deploy.exporters.checkpoint import load_checkpoint
from daq_deploy.finetuning import TrainingOptions, training
from daq_deploy.finetuning.training import WARM_UP, learning_rate


def arguments(checkpoint: Path, photos: Path, output: Path, *more: object) -> list[str]:
    given = ["finetune", checkpoint, "--data", photos, "-o", output, "--bits", 2, "--threads", 1]
    small = ["--batch", 4, "--patch", 32, "--every", 5, "--device", "cpu"]
    return [str(argument) for argument in [*given, *small, *more]]


def run(checkpoint: Path, photos: Path, output: Path, *more: object) -> str:
    result = CliRunner().invoke(build_app(), arguments(checkpoint, photos, output, *more))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def process(*arguments: str, launcher: tuple[str, ...] = ("-m", "daq_deploy")) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *launcher, *arguments], env=environment, stderr=subprocess.PIPE)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    found = load_checkpoint(path)
    trained = found.trained
    assert trained is not None
    steps = {f"{name}.step": torch.from_numpy(step) for name, step in trained.weight_steps.items()}
    tails = {f"{layer.name}.tail": torch.tensor(layer.tail or 0.0) for layer in trained.layers}
    return found.state_dict | steps | tails


@pytest.fixture(scope="module")
def whole(checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of 60 steps that nothing interrupts gives."""
    output = tmp_path_factory.mktemp("whole") / "w2a2.pt"
    run(checkpoint, photos, output, "--steps", 60)
    return output


def test_it_learns_and_export_takes_it(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "w2a2.safetensors"
    document = json.loads(run(checkpoint, photos, output, "--steps", 60, "--json", "--log", tmp_path / "curves"))
    first, *_, last = document["history"]
    assert last["psnr_y"] > first["psnr_y"] + 0.1
    assert [point["step"] for point in document["history"]] == list(range(0, 61, 5))
    assert list((tmp_path / "curves").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves", "w2a2.safetensors"]
    exported = CliRunner().invoke(build_app(), ["export", str(output), "-o", str(tmp_path / "daq.onnx"), "--json"])
    assert exported.exit_code == 0, exported.output
    found = {layer["name"]: layer["tail"] for layer in json.loads(exported.stdout)["layers"]}
    trained = load_checkpoint(output).trained
    assert trained is not None
    assert found == {layer.name: layer.tail for layer in trained.layers}
    with pytest.raises(OptionError, match="fine-tuned with its quantizers"):
        CliRunner().invoke(
            build_app(),
            ["export", str(output), "--bits", "3", "-o", str(tmp_path / "other.onnx")],
            catch_exceptions=False,
        )


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(
    checkpoint: Path, photos: Path, whole: Path, tmp_path: Path
) -> None:
    output, state = tmp_path / "w2a2.pt", tmp_path / "w2a2.state.pt"
    asked = arguments(checkpoint, photos, output, "--steps", 60)
    for saved in (10, 25, 45):
        running = process(*asked, *(["--resume"] if state.exists() else []))
        while running.poll() is None and not (state.exists() and _step(state) >= saved):
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not output.exists()
        assert torch.load(state, weights_only=True)["step"] < 60
    with pytest.raises(OptionError, match="--resume goes on"):
        run(checkpoint, photos, output, "--steps", 60)
    with pytest.raises(OptionError, match="other options"):
        run(checkpoint, photos, output, "--steps", 61, "--resume")
    run(checkpoint, photos, output, "--steps", 60, "--resume")
    assert not state.exists()
    expected, found = weights_of(whole), weights_of(output)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def _step(state: Path) -> int:
    step: int = torch.load(state, weights_only=True)["step"]
    return step


@pytest.mark.parametrize("launcher", ["processes", "torchrun"])
def test_two_processes_give_what_one_does(launcher: str, checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    alone, output = tmp_path / "alone.pt", tmp_path / "w2a2.pt"
    run(checkpoint, photos, alone, "--steps", 10)
    asked = arguments(checkpoint, photos, output, "--steps", 10)
    if launcher == "processes":
        running = process(*asked, "--processes", "2")
    else:
        run_module = (
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--master-port",
            "29611",
            "-m",
            "daq_deploy",
        )
        running = process(*asked, launcher=run_module)
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors.decode()
    expected, found, before = weights_of(alone), weights_of(output), load_checkpoint(checkpoint).state_dict
    moved = {name: (expected[name] - before[name]).abs().mean() for name in before if "mean" not in name}
    assert min(moved.values()) > 0
    for name in moved:  # Adam divides by what gradients add up to, so that their last digits show where these are small
        assert (expected[name] - found[name]).abs().mean() < 0.02 * moved[name], name


def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training.l1_loss
    calls = 0

    def failing(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(output, target) * (torch.nan if calls > 2 * 12 else 1)

    monkeypatch.setattr(training, "l1_loss", failing)
    output = tmp_path / "w2a2.pt"
    with pytest.raises(CheckFailed, match=r"nan at step 13, learning rate .*; .*w2a2.pt holds the best weights before"):
        run(checkpoint, photos, output, "--steps", 60)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights_of(output).values())


def test_a_full_disk_is_one_line_and_leaves_no_half_file(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DaqError, match="No space left"):
        run(checkpoint, photos, tmp_path / "w2a2.pt", "--steps", 5)
    assert list(tmp_path.iterdir()) == []


def test_patience_ends_a_run_that_learns_nothing(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    document = json.loads(
        run(
            checkpoint, photos, tmp_path / "w2a2.pt", "--steps", 60, "--patience", 2, "--learning-rate", 1e-12, "--json"
        )
    )
    assert document["history"][-1]["step"] < 60


def test_minutes_fix_the_steps_after_the_warm_up(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    document = json.loads(run(checkpoint, photos, tmp_path / "w2a2.pt", "--minutes", 0.1, "--json", "--every", 20))
    assert document["history"][-1]["steps"] >= WARM_UP
    assert document["history"][-1]["seconds"] < 60


def test_bad_input_is_one_line(checkpoint: Path, photos: Path, whole: Path, tmp_path: Path) -> None:
    def fails(error: type[DaqError], match: str, *more: object, output: str = "out.pt") -> None:
        with pytest.raises(error, match=match):
            run(checkpoint, photos, tmp_path / output, *more)

    fails(OptionError, "--steps and --minutes", "--steps", 5, "--minutes", 1)
    fails(OptionError, "--batch 0", "--batch", 0)
    fails(OptionError, "--distillation 2", "--distillation", 2)
    fails(OptionError, "--learning-rate 0", "--learning-rate", 0)
    fails(OptionError, "smaller --patch", "--patch", 512)
    fails(OptionError, "--device tpu", "--device", "tpu")
    fails(OptionError, "name a file ending", output="out.onnx")
    fails(CheckpointError, "does not exist; start without", "--resume")
    fails(OptionError, "no such folder", "--validation", tmp_path / "nowhere")
    (tmp_path / "out.state.pt").write_bytes(b"damaged")
    fails(CheckpointError, "is damaged", "--resume")
    (tmp_path / "out.state.pt").unlink()
    shutil.copy(whole, tmp_path / "out.pt")
    fails(OutputExistsError, "--force")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="has no pictures"):
        run(checkpoint, tmp_path / "empty", tmp_path / "new.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "out.pt"]


def test_the_command_has_the_defaults_of_python() -> None:
    asked = {name: parameter.default for name, parameter in inspect.signature(finetune).parameters.items()}
    assert {name: asked[name] for name in asdict(TrainingOptions())} == asdict(TrainingOptions())


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(1e-3, step, 500) for step in range(500)]
    assert max(rates) == pytest.approx(1e-3)
    assert rates.index(max(rates)) in (WARM_UP - 1, WARM_UP)
    assert rates[0] < 1e-4
    assert rates[-1] < 2e-5


def test_options_refuse_what_makes_no_sense() -> None:
    for wrong in ({"steps": 0}, {"minutes": 0.0}, {"every": 0}, {"seed": -1}, {"patience": 0}):
        with pytest.raises(OptionError):
            TrainingOptions(**wrong)
