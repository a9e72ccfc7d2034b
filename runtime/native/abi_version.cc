#include "abi_version.h"

int daq_native_abi_version() { return 1; }
