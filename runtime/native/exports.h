// What Python and ONNX Runtime call by name. daq_deploy/runtime/library.py knows the same functions.

#pragma once

#if defined(_WIN32)
#define DAQ_EXPORT extern "C" __declspec(dllexport)
#else
#define DAQ_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Raised whenever an exported function or an op changes; library.py holds the same number.
DAQ_EXPORT int daq_native_abi_version();

// The instruction set in use (amx, avx512_vnni, avx_vnni, avx2 or portable), and why it is not a higher one.
DAQ_EXPORT const char* daq_native_isa();
DAQ_EXPORT const char* daq_native_isa_reason();
