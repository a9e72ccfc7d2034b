// What Python and the native library agree on.

#pragma once

#if defined(_WIN32)
#define DAQ_EXPORT extern "C" __declspec(dllexport)
#else
#define DAQ_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Raised whenever an exported function changes. daq_deploy/runtime/library.py holds the same number.
DAQ_EXPORT int daq_native_abi_version();
