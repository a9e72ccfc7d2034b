// How fast this processor multiplies 8-bit integers at best: what `make benchmark` compares the kernels with.

#pragma once

#include "exports.h"

// Multiplications and additions of 8-bit integers a second: the best of many short runs, during `seconds`, of a loop that does
// nothing else, on this thread, with the instruction that the tier in use is built on.
DAQ_EXPORT double daq_native_int8_peak(double seconds);
