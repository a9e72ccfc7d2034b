"""The native library of this installation: where it is, and what it says of itself."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from daq_deploy import runtime
from daq_deploy.errors import DaqError

FILE_NAME = "libdaq_native.so"
ABI_VERSION = 6
"""What `daq_native_abi_version()` of a library that belongs to this code returns."""
INSTRUCTION_SETS = ("amx", "avx512_vnni", "avx_vnni", "avx2", "portable")
"""Those that kernels are written for, highest first; DAQ_ISA asks for one."""


@dataclass(frozen=True)
class NativeLibrary:
    """A loaded library."""

    path: Path
    isa: str
    """The instruction set in use, one of INSTRUCTION_SETS."""
    isa_reason: str
    """Why it is not a higher one."""


def library_path() -> Path | None:
    """Return the native library's path, or None where the package was installed without a compiler."""
    # An editable installation has two folders: the sources', and site-packages' with what was compiled.
    candidates = (Path(folder) / FILE_NAME for folder in runtime.__path__)
    return next((path for path in candidates if path.is_file()), None)


def load_library() -> NativeLibrary | None:
    """Load the library and ask which instruction set it has chosen; None where the package was installed without one.

    Raises:
        DaqError: the library cannot be loaded, or belongs to another version of this code.
    """
    path = library_path()
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
        version = library.daq_native_abi_version()
    except (OSError, AttributeError) as error:
        raise DaqError(f"{path.name}: cannot be loaded: {error}; install daq-deploy again") from error
    if version != ABI_VERSION:
        raise DaqError(
            f"{path.name}: has version {version}, this daq-deploy needs {ABI_VERSION}; install daq-deploy again"
        )
    for function in (library.daq_native_isa, library.daq_native_isa_reason):
        function.restype = ctypes.c_char_p
    return NativeLibrary(path, library.daq_native_isa().decode(), library.daq_native_isa_reason().decode())


__all__ = ["ABI_VERSION", "FILE_NAME", "INSTRUCTION_SETS", "NativeLibrary", "library_path", "load_library"]
