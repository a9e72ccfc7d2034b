"""What the native library says about itself."""

from __future__ import annotations

import ctypes

from daq_deploy.runtime.library import INSTRUCTION_SETS, library_path


def native_library() -> ctypes.CDLL | None:
    """Return the loaded library, or None where the package was installed without a compiler."""
    path = library_path()
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    library.daq_native_isa.restype = ctypes.c_char_p
    library.daq_native_int8_peak.argtypes = [ctypes.c_double]
    library.daq_native_int8_peak.restype = ctypes.c_double
    return library


def native_tiers() -> tuple[str, ...]:
    """Return the tiers that this processor has and DAQ_ISA allows, the best first; none without the library."""
    library = native_library()
    return () if library is None else INSTRUCTION_SETS[INSTRUCTION_SETS.index(library.daq_native_isa().decode()) :]


__all__ = ["native_library", "native_tiers"]
