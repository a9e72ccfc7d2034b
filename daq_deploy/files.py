"""Writing files so that nothing half-written is left behind and nothing is overwritten by accident."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DaqError, OptionError, OutputExistsError


def check_local(path: Path) -> None:
    """Refuse an address such as s3://bucket/photos, which as a path would only be a folder that is not there.

    Raises:
        OptionError: it is one.
    """
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/", str(path), re.IGNORECASE)  # one letter is a drive
    if scheme:
        address = str(path).replace(":/", "://", 1)
        raise OptionError(f"{address}: {scheme[1]} addresses are not read or written; mount it as a folder first")


def check_output(path: Path, force: bool) -> None:
    """Refuse, before any work is done, an output that cannot be written.

    Raises:
        OutputExistsError: `path` exists and `force` is false.
        DaqError: the folder does not exist, or `path` is a folder.
    """
    if path.is_dir():
        raise DaqError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise DaqError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and not force:
        raise OutputExistsError(f"{path}: exists already; use --force to overwrite it")


@contextmanager
def atomic_write(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is renamed to `path`, on any error it is removed.

    The temporary file keeps the suffix of `path`, so that libraries that look at it choose the right format.

    Raises:
        OutputExistsError: `path` exists and `force` is false.
        DaqError: the folder does not exist or cannot be written to.
    """
    check_output(path, force)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise DaqError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        raise DaqError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


__all__ = ["atomic_write", "check_local", "check_output", "sha256_of"]
