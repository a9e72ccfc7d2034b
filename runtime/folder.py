"""Upscale the pictures of a folder: reading and writing overlap with the network, and an interrupted run can go on."""

from __future__ import annotations

import contextlib
import glob
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from daq_deploy.errors import DaqError, ImageError, ModelError, OptionError
from daq_deploy.files import check_output, sha256_of

from .images import SUFFIXES, check_picture_path, read_picture, write_picture
from .manifest import DONE, FAILED, NAME, STARTED, Entry, ManifestWriter, read_manifest
from .upscaler import Upscaler

_BESIDE_THE_NETWORK = 2
"""Pictures that are read or written while others are in the network."""


@dataclass(frozen=True)
class Task:
    """A picture of a folder and where its larger self goes."""

    source: Path
    target: Path
    entry: Entry
    """What it begins the manifest with."""
    overwrite: bool
    """Whether the target may be there already."""


@dataclass(frozen=True)
class Summary:
    """What became of the pictures of a folder."""

    done: int
    skipped: int
    """Done before, by a run that this one resumes."""
    failed: tuple[Entry, ...]
    network_seconds: float
    """Sum over the pictures of what the network took."""


def plan_tasks(
    folder: Path, output: Path, model: Path, recursive: bool, resume: bool, force: bool
) -> tuple[list[Task], int]:
    """Return what is to be done, in the order of the paths, and how many pictures are done already.

    Args:
        folder: with pictures: files whose names end as pictures' do, hidden ones left aside.
        output: where the same tree goes; may be below `folder`, whose pictures are then not looked for in it.
        model: the ONNX file.
        recursive: look into subfolders.
        resume: leave out what the output's manifest says is done, if input and model are the same and the output is there.
        force: overwrite files that are there.

    Raises:
        OptionError: there is no such folder or no picture in it, or the output has a manifest and neither `resume` nor
            `force` is set.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder}: no such folder")
    before = read_manifest(output)
    if before and not (resume or force):
        raise OptionError(f"{output / NAME}: is there already; --resume goes on with that run, --force starts anew")
    sources = sorted(_pictures(folder, output, recursive))
    if not sources:
        hint = "" if recursive else "; --recursive looks into subfolders"
        raise OptionError(f"{folder}: has no pictures ({', '.join(SUFFIXES)}){hint}")
    model_hash, tasks = sha256_of(model), []
    for source in sources:
        name = source.relative_to(folder).as_posix()
        entry = Entry(name, _hash(source), name, model_hash, STARTED)
        last, target = before.get(name), output / name
        if resume and last is not None and last.status == DONE and last.is_same_work(entry) and target.is_file():
            continue
        tasks.append(Task(source, target, entry, force or (resume and last is not None)))
    return tasks, len(sources) - len(tasks)


def _pictures(folder: Path, output: Path, recursive: bool) -> Iterator[Path]:
    for path in folder.rglob("*") if recursive else folder.iterdir():
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file() and output not in path.parents:
            yield path


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""  # reading the picture will say why


def upscale_folder(
    upscaler: Upscaler,
    tasks: Iterable[Task],
    output: Path,
    jobs: int = 1,
    report: Callable[[Entry], None] = lambda entry: None,
) -> Summary:
    """Upscale pictures and keep the manifest.

    A picture that cannot be read, run, or written in its format does not stop the rest.

    Args:
        upscaler: the network.
        tasks: of `plan_tasks`.
        output: the folder that gets the manifest.
        jobs: pictures that are in the network at a time.
        report: called with the last entry of each picture, from several threads.

    Raises:
        OptionError: `jobs` is below 1.
        DaqError: the output cannot be written: the disk is full, the folder read-only.
    """
    if jobs < 1:
        raise OptionError(f"--jobs {jobs}: choose 1 or more")
    make_folder(output)
    entries: list[Entry] = []
    with ManifestWriter(output) as manifest, ThreadPoolExecutor(jobs + _BESIDE_THE_NETWORK) as pool:
        network = threading.Semaphore(jobs)

        def work(task: Task) -> Entry:
            entry = run_task(upscaler, task, network, manifest.write)
            manifest.write(entry)
            report(entry)
            return entry

        running: set[Future[Entry]] = set()
        try:
            for task in tasks:
                running.add(pool.submit(work, task))
                if len(running) > jobs + _BESIDE_THE_NETWORK:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    entries += [future.result() for future in finished]
            entries += [future.result() for future in running]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return summarize(entries)


def summarize(entries: list[Entry]) -> Summary:
    """Count what became of pictures."""
    failed = tuple(entry for entry in entries if entry.status == FAILED)
    return Summary(len(entries) - len(failed), 0, failed, sum(entry.seconds for entry in entries))


def run_task(
    upscaler: Upscaler,
    task: Task,
    network: contextlib.AbstractContextManager[object],
    record: Callable[[Entry], None] = lambda entry: None,
) -> Entry:
    """Read, upscale and write one picture, and return what became of it.

    Args:
        upscaler: the network.
        task: the picture.
        network: entered while the network runs.
        record: called before the output is written.

    Raises:
        DaqError: the output cannot be written: the disk is full, the folder read-only.
    """
    seconds = 0.0
    try:
        make_folder(task.target.parent)
        check_output(task.target, task.overwrite)
        picture = read_picture(task.source)
        height, width = (size * upscaler.scale for size in picture.rgb.shape[:2])
        check_picture_path(task.target, picture.alpha is not None, (height, width))
        with network:
            start = time.perf_counter()
            larger = upscaler.upscale_picture(picture)
            seconds = time.perf_counter() - start
        del picture
        if task.overwrite:
            _remove_leftovers(task.target)
        record(task.entry)
        write_picture(task.target, larger, task.overwrite)
    except DaqError as error:
        entry = replace(task.entry, status=FAILED, seconds=seconds, error=str(error))
        if not isinstance(error, (ImageError, ModelError, OptionError)) and not task.target.exists():
            record(entry)
            raise
        return entry
    return replace(task.entry, status=DONE, seconds=round(seconds, 4))


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        DaqError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DaqError(f"{path}: the folder cannot be made: {error.strerror}") from error


def _remove_leftovers(target: Path) -> None:
    """Remove what `atomic_write` leaves of a file when the process is killed."""
    for path in target.parent.glob(f".{glob.escape(target.stem)}-????????{target.suffix}"):
        with contextlib.suppress(OSError):
            path.unlink()


__all__ = ["Summary", "Task", "make_folder", "plan_tasks", "run_task", "summarize", "upscale_folder"]
