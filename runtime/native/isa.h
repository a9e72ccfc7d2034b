// Which instruction set runs: the best that the processor has, or a lower one that DAQ_ISA asks for.

#pragma once

namespace daq {

enum class Isa { portable, avx2, avx_vnni, avx512_vnni, amx };  // ascending

// The tier in use. Read once, when first asked.
Isa chosen_isa();

const char* isa_name(Isa isa);

// One line: why no higher tier is in use.
const char* isa_reason();

// Whether this processor and operating system can run a tier.
bool isa_available(Isa isa);

// Whether this processor has VPDPBUSD as AVX-VNNI encodes it, not only as AVX-512 VNNI does.
bool has_vex_vnni();

}  // namespace daq
