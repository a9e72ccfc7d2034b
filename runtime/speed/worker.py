"""A process that holds one opened network and runs it when told: `python -m daq_deploy.runtime.speed.worker`.

Networks that are compared run in processes of their own, since the native kernels choose their instruction set once a
process, and so that each one's memory can be seen. They take turns: while one runs, the others wait on their pipes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from daq_deploy.errors import ModelError, OptionError
from daq_deploy.runtime.benchmark import timed
from daq_deploy.runtime.memory import PeakMemory
from daq_deploy.runtime.model_source import first_line
from daq_deploy.runtime.session import Session
from daq_deploy.runtime.synthetic import smooth_image

from .contestants import Contestant

Image = npt.NDArray[np.float32]
Opened = tuple[Callable[[], None], tuple[int, ...]]
"""What runs the network once, and the shape of the output."""


@dataclass(frozen=True)
class Opening:
    """What a process says when its network is open and has run once."""

    output_height: int
    output_width: int
    peak_memory_bytes: int | None
    """Main memory above a process that has loaded everything but the network; None where it cannot be measured."""


class Worker:
    """The process, from the other side of the pipes.

    Args:
        contestant: what runs.
        file: the network.
        height, width: of the picture, a smooth synthetic one.
        value_range: its largest value.
        threads: threads within an operation.

    Raises:
        ModelError: the network cannot be opened or run, or the process ended, as for lack of memory.
    """

    def __init__(
        self, contestant: Contestant, file: Path, height: int, width: int, value_range: float, threads: int
    ) -> None:
        self.contestant = contestant
        task = {"file": str(file), "height": height, "width": width, "value_range": value_range, "threads": threads}
        command = [sys.executable, "-m", __name__, json.dumps({"contestant": asdict(contestant), **task})]
        # Without PYTHONSAFEPATH, -m would import from the folder the user happens to be in.
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        if contestant.tier is not None:
            environment["DAQ_ISA"] = contestant.tier
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        try:
            self.opening = Opening(**self._answer())
        except BaseException:
            self.close()
            raise

    def run(self) -> float:
        """Run the network once and return the milliseconds it took.

        Raises:
            ModelError: it failed, or the process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer, or that there is none, says why
        return float(self._answer()["milliseconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            why = "was killed, as for lack of memory" if code == -9 else f"ended with code {code}"
            raise ModelError(f"{self.contestant.name}: its process {why}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ModelError(f"{self.contestant.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_onnxruntime(file: Path, image: Image, threads: int) -> Opened:
    """ONNX Runtime as it comes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # Threads of a waiting process must not take cores from the one whose turn it is.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, image)
    binding.bind_output(session.get_outputs()[0].name)
    session.run_with_iobinding(binding)
    return lambda: session.run_with_iobinding(binding), tuple(binding.get_outputs()[0].shape())


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise OptionError("OpenVINO is not installed: pip install 'daq-deploy[benchmark]'") from error
    return openvino


def _open_openvino(file: Path, image: Image, threads: int, precision: str | None) -> Opened:
    """OpenVINO set for latency, and told the size of the picture."""
    openvino = _openvino()
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise OptionError("OpenVINO has no bf16 on this processor")
    model = core.read_model(file)
    model.reshape(list(image.shape))
    settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))

    def run() -> None:
        request.infer()

    run()
    return run, tuple(request.get_output_tensor().shape)


def _open_daq(file: Path, image: Image, threads: int, tier: str | None) -> Opened:
    """The project's own session, which fuses the file while it opens it."""
    session = Session(file, threads=threads, native=tier is not None)
    description = session.describe()
    if description.instruction_set != tier:
        raise OptionError(description.without_native or f"native kernels run as {description.instruction_set}")
    run = session.bind(image)
    return run, session.run(image).shape


def _open(contestant: Contestant, file: Path, image: Image, threads: int) -> Opened:
    if contestant.engine == "onnxruntime":
        return _open_onnxruntime(file, image, threads)
    if contestant.engine == "openvino":
        return _open_openvino(file, image, threads, contestant.precision)
    return _open_daq(file, image, threads, contestant.tier)


def _serve(orders: IO[str], answers: IO[str]) -> None:
    task = json.loads(sys.argv[1])
    contestant = Contestant(**task["contestant"])
    if contestant.engine == "openvino":
        _openvino()  # its own size is not the network's
    image = smooth_image(task["height"], task["width"], task["value_range"])
    memory = PeakMemory()
    run, shape = _open(contestant, Path(task["file"]), image, task["threads"])
    _say(answers, asdict(Opening(shape[2], shape[3], memory.rise())))
    timed_run = timed(run)
    for _ in orders:
        _say(answers, {"milliseconds": timed_run()})


def _say(answers: IO[str], values: dict[str, Any]) -> None:
    print(json.dumps(values), file=answers, flush=True)


def _main() -> None:
    # Libraries that print must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        _serve(sys.stdin, answers)
    except Exception as error:  # whatever the engines raise
        _say(answers, {"error": first_line(error)})


if __name__ == "__main__":
    _main()

__all__ = ["Opening", "Worker"]
