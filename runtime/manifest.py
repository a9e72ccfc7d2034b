"""What became of each picture of a folder: one line of JSON for each event, so that an interrupted run can go on.

`started` is written before a picture's output is, `done` or `failed` after it; the last line of a picture counts. A line
that was cut off when the process was killed is passed over.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from daq_deploy.errors import DaqError

NAME = "manifest.jsonl"
STARTED, DONE, FAILED = "started", "done", "failed"


@dataclass(frozen=True)
class Entry:
    """One event."""

    input: str
    """Path of the picture below the input folder, with slashes."""
    input_sha256: str
    """Hash of its bytes; empty where it could not be read at all."""
    output: str
    """Path below the output folder, with slashes."""
    model_sha256: str
    status: str
    """`started`, `done` or `failed`."""
    seconds: float = 0.0
    """What the network took."""
    error: str = ""
    """Why it failed, in one line."""
    time: str = ""
    """When the line was written: ISO 8601, UTC."""

    def is_same_work(self, other: Entry) -> bool:
        """Return whether both turn the same bytes into the same file with the same model."""
        return (self.input_sha256, self.output, self.model_sha256) == (
            other.input_sha256,
            other.output,
            other.model_sha256,
        )


def read_manifest(folder: Path) -> dict[str, Entry]:
    """Return the last entry of each picture, by `input`; none where the folder has no manifest.

    Raises:
        DaqError: the manifest cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DaqError(f"{path}: cannot be read: {error.strerror}") from error
    entries = {}
    for line in lines:
        try:
            entry = Entry(**json.loads(line))
        except (TypeError, ValueError):
            continue
        entries[entry.input] = entry
    return entries


class ManifestWriter:
    """Appends entries to the manifest of a folder; may be used from several threads.

    Raises:
        DaqError: the manifest cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / NAME, threading.Lock()
        try:
            self._stream = self._path.open("a+b")
            if self._stream.tell() > 0:
                self._stream.seek(-1, os.SEEK_END)
                if self._stream.read(1) != b"\n":  # the last run was killed in the middle of a line
                    self._stream.write(b"\n")
        except OSError as error:
            raise DaqError(f"{self._path}: cannot be written: {error.strerror}") from error

    def write(self, entry: Entry) -> None:
        """Append an entry, with the time it is now.

        Raises:
            DaqError: it cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = json.dumps(asdict(entry) | {"time": now}, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                self._stream.write(line.encode("utf-8", errors="replace"))
                self._stream.flush()
            except OSError as error:
                raise DaqError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


__all__ = ["DONE", "FAILED", "NAME", "STARTED", "Entry", "ManifestWriter", "read_manifest"]
