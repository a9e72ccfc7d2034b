"""Upscale the pictures of a folder on several machines, with Ray Data: a pool of actors, an opened network in each.

Ray schedules, and starts anew what dies: a picture whose worker is killed goes to another. Input and output folders must be
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

from .folder import Summary, Task, make_folder, run_task, summarize
from .manifest import FAILED, Entry, ManifestWriter
from .upscaler import Upscaler

_MOST_BLOCKS = 10_000
"""Parts that the list of pictures is cut into: what a dying worker takes with it is one part."""


class _Worker:
    """An actor: upscales pictures one by one."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        answers = [self._answer(json.loads(str(text))) for text in batch["task"]]
        return {"answer": np.array([json.dumps(answer) for answer in answers])}

    def _answer(self, fields: dict[str, Any]) -> dict[str, Any]:
        # What a worker wrote that died before it could say so is written again.
        task = Task(Path(fields["source"]), Path(fields["target"]), Entry(**fields["entry"]), overwrite=True)
        try:
            return {"entry": asdict(run_task(self._upscaler, task, nullcontext())), "fatal": ""}
        except DaqError as error:
            return {"entry": asdict(replace(task.entry, status=FAILED, error=str(error))), "fatal": str(error)}


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

        rows = []
        for task in tasks:
            if task.target.exists() and not task.overwrite:
                message = f"{task.target}: exists already; use --force to overwrite it"
                finish(replace(task.entry, status=FAILED, error=message))
                continue
            manifest.write(task.entry)
            fields = {"source": str(task.source.resolve()), "target": str(task.target.resolve())}
            rows.append({"task": json.dumps(fields | {"entry": asdict(task.entry)})})
        if rows:
            workers = max(1, min(len(rows), int(ray.cluster_resources().get("CPU", 1)) // threads))
            answers = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map_batches(
                _Worker,
                fn_constructor_args=(upscaler,),
                batch_size=1,
                num_cpus=threads,
                num_gpus=1 if upscaler.provider == "cuda" else 0,
                compute=ray.data.ActorPoolStrategy(size=workers),
            )
            for row in answers.iter_rows():
                answer = json.loads(str(row["answer"]))
                finish(Entry(**answer["entry"]))
                if answer["fatal"]:
                    raise DaqError(answer["fatal"])
    return summarize(entries)


__all__ = ["connected", "upscale_on_ray"]
