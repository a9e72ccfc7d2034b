"""Upscale or evaluate pictures on several machines, with Ray Data: a pool of actors, opened networks in each.

Ray schedules, and starts anew what dies: a picture whose worker is killed goes to another. Folders and models must be
reachable under the same paths on every machine.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from daq_deploy.errors import DaqError, OptionError
from daq_deploy.evaluation import Evaluation, Scores, evaluate
from daq_deploy.image_pairs import ImagePairs
from daq_deploy.runner import Runner

from .folder import Summary, Task, make_folder, run_task, summarize
from .manifest import FAILED, Entry, ManifestWriter
from .upscaler import Upscaler

_MOST_BLOCKS = 10_000
"""Parts that the list of pictures is cut into: what a dying worker takes with it is one part."""

Row = dict[str, Any]
Work = Callable[[Row], Row]
"""Pickled to every worker."""


class _Worker:
    """An actor: does work for rows, one by one; rows and answers are JSON."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        answers = [self._work(json.loads(str(text))) for text in batch["row"]]
        return {"answer": np.array([json.dumps(answer) for answer in answers])}


class _Upscaling:
    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler

    def __call__(self, row: Row) -> Row:
        # What a worker wrote that died before it could say so is written again.
        task = Task(Path(row["source"]), Path(row["target"]), Entry(**row["entry"]), overwrite=True)
        try:
            return {"entry": asdict(run_task(self._upscaler, task, nullcontext())), "fatal": ""}
        except DaqError as error:
            return {"entry": asdict(replace(task.entry, status=FAILED, error=str(error))), "fatal": str(error)}


class _Evaluating:
    def __init__(self, runners: Sequence[tuple[str, Runner]], pairs: ImagePairs) -> None:
        self._runners, self._pairs = runners, pairs

    def __call__(self, row: Row) -> Row:
        pairs = replace(self._pairs, high_paths=(self._pairs.high_paths[row["pair"]],))
        name, runner = self._runners[row["runner"]]
        try:
            (scores,) = evaluate(runner, pairs, name).images.values()
        except DaqError as error:
            return row | {"error": str(error)}
        return row | {"scores": asdict(scores), "error": ""}


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster and yield the module `ray`; `auto` starts one on this machine where none is found.

    Raises:
        OptionError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise OptionError("--ray: Ray is not installed; pip install 'daq-deploy[ray]'") from error
    here = ray.is_initialized()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if not here:
            ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        if address != "auto":
            raise OptionError(f"--ray {address}: there is no cluster: {str(error).splitlines()[0]}") from error
        ray.init(**options)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if not here:
            ray.shutdown()


def _answers(ray: Any, work: Work, rows: Sequence[Row], threads: int, on_gpu: bool) -> Iterator[Row]:
    """Yield what `work` makes of each row, in the order it gets done; as many at a time as the cluster has room for."""
    if not rows:
        return
    workers = max(1, min(len(rows), int(ray.cluster_resources().get("CPU", 1)) // threads))
    items = [{"row": json.dumps(row)} for row in rows]
    answers = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS)).map_batches(
        _Worker,
        fn_constructor_args=(work,),
        batch_size=1,
        num_cpus=threads,
        num_gpus=1 if on_gpu else 0,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    for row in answers.iter_rows():
        yield json.loads(str(row["answer"]))


def upscale_on_ray(
    upscaler: Upscaler,
    tasks: Sequence[Task],
    output: Path,
    address: str,
    threads: int,
    report: Callable[[Entry], None] = lambda entry: None,
) -> Summary:
    """Upscale pictures and keep the manifest, as `upscale_folder` does; as many at a time as the cluster has room for.

    Args:
        upscaler: the network; it is pickled to every worker.
        tasks: of `plan_tasks`.
        output: the folder that gets the manifest.
        address: of the cluster, or `auto`.
        threads: processors that one worker asks for.
        report: called with the last entry of each picture.

    Raises:
        OptionError: Ray is not installed, or there is no cluster.
        DaqError: the output cannot be written.
    """
    make_folder(output)
    entries: list[Entry] = []
    with connected(address) as ray, ManifestWriter(output) as manifest:

        def finish(entry: Entry) -> None:
            manifest.write(entry)
            report(entry)
            entries.append(entry)

        rows: list[Row] = []
        for task in tasks:
            if task.target.exists() and not task.overwrite:
                message = f"{task.target}: exists already; use --force to overwrite it"
                finish(replace(task.entry, status=FAILED, error=message))
                continue
            manifest.write(task.entry)
            paths = {"source": str(task.source.resolve()), "target": str(task.target.resolve())}
            rows.append(paths | {"entry": asdict(task.entry)})
        for answer in _answers(ray, _Upscaling(upscaler), rows, threads, upscaler.provider == "cuda"):
            finish(Entry(**answer["entry"]))
            if answer["fatal"]:
                raise DaqError(answer["fatal"])
    return summarize(entries)


def evaluate_on_ray(
    runners: Sequence[tuple[str, Runner]],
    pairs: ImagePairs,
    address: str,
    threads: int,
    on_gpu: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> list[Evaluation]:
    """Run networks on every low-resolution picture and compare with the truth, as `evaluation.evaluate` does.

    Args:
        runners: what networks are called, and the opened networks, which are pickled to every worker.
        pairs: the pictures.
        address: of the cluster, or `auto`.
        threads: processors that one worker asks for.
        on_gpu: whether a worker asks for a GPU.
        progress: called after every picture.

    Raises:
        OptionError: Ray is not installed, or there is no cluster.
        DaqError: a picture cannot be read, or a network does not run on it; the picture is named.
    """
    folder, low_folder = pairs.folder.resolve(), pairs.low_folder and pairs.low_folder.resolve()
    elsewhere = replace(
        pairs, folder=folder, low_folder=low_folder, high_paths=tuple(path.resolve() for path in pairs.high_paths)
    )
    rows = [{"runner": runner, "pair": pair} for runner in range(len(runners)) for pair in range(len(pairs))]
    found: dict[tuple[int, int], Scores] = {}
    with connected(address) as ray:
        for answer in _answers(ray, _Evaluating(runners, elsewhere), rows, threads, on_gpu):
            if answer["error"]:
                raise DaqError(answer["error"])
            found[answer["runner"], answer["pair"]] = Scores(**answer["scores"])
            progress()
    return [
        Evaluation(name, {path.name: found[runner, pair] for pair, path in enumerate(pairs.high_paths)})
        for runner, (name, _) in enumerate(runners)
    ]


__all__ = ["connected", "evaluate_on_ray", "upscale_on_ray"]
