"""Where the native library of this installation is."""

from __future__ import annotations

from pathlib import Path

from daq_deploy import runtime

FILE_NAME = "libdaq_native.so"
ABI_VERSION = 2
"""What `daq_native_abi_version()` of a library that belongs to this code returns."""


def library_path() -> Path | None:
    """Return the native library's path, or None where the package was installed without a compiler."""
    # An editable installation has two folders: the sources', and site-packages' with what was compiled.
    candidates = (Path(folder) / FILE_NAME for folder in runtime.__path__)
    return next((path for path in candidates if path.is_file()), None)


__all__ = ["ABI_VERSION", "FILE_NAME", "library_path"]
