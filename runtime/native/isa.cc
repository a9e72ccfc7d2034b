#include "isa.h"

#include <cstdlib>
#include <cstring>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace daq {
namespace {

constexpr Isa kDescending[] = {Isa::amx, Isa::avx512_vnni, Isa::avx_vnni, Isa::avx2, Isa::portable};

#if defined(__x86_64__)

constexpr unsigned kAvxState = 0x6;         // XCR0: SSE and AVX registers
constexpr unsigned kAvx512State = 0xe6;     // and mask and zmm registers
constexpr unsigned kTileState = 0x600e6;    // and tile configuration and data

unsigned enabled_state() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & (1u << 27))) return 0;  // OSXSAVE
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Linux grants tile registers on request only.
bool tiles_granted() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool detect(Isa isa) {
  if (isa == Isa::portable) return true;
  unsigned eax = 0, ebx1 = 0, ecx1 = 0, edx = 0;
  unsigned ebx7 = 0, ecx7 = 0, edx7 = 0;
  if (!__get_cpuid(1, &eax, &ebx1, &ecx1, &edx) || !__get_cpuid_count(7, 0, &eax, &ebx7, &ecx7, &edx7)) return false;
  const unsigned state = enabled_state();
  const auto bit = [](unsigned word, int index) { return (word >> index & 1) != 0; };
  const bool avx2 = (state & kAvxState) == kAvxState && bit(ebx7, 5) && bit(ecx1, 12) && bit(ecx1, 29);  // FMA, F16C
  if (isa == Isa::avx2) return avx2;
  const bool vnni = avx2 && (state & kAvx512State) == kAvx512State && bit(ebx7, 16) && bit(ebx7, 17) && bit(ebx7, 30) &&
                    bit(ebx7, 31) && bit(ecx7, 11);  // F, DQ, BW, VL, VNNI
  if (isa == Isa::avx512_vnni) return vnni;
  if (isa == Isa::avx_vnni) return vnni || (avx2 && has_vex_vnni());
  return vnni && bit(ecx7, 1) && bit(edx7, 24) && bit(edx7, 25) &&  // VBMI, tiles, their products of bytes
         (state & kTileState) == kTileState && tiles_granted();
}

#else

bool detect(Isa isa) { return isa == Isa::portable; }

#endif

struct Choice {
  Isa isa = Isa::portable;
  std::string reason;
};

Choice choose() {
  Isa highest = Isa::portable;
  for (const Isa isa : kDescending) {
    if (isa_available(isa)) {
      highest = isa;
      break;
    }
  }
  std::string reason = "this processor's best";
  if (highest != Isa::amx) {
    const Isa next = static_cast<Isa>(static_cast<int>(highest) + 1);
    reason = std::string("the processor, or the operating system, does not offer ") + isa_name(next);
  }
  const char* wanted = std::getenv("DAQ_ISA");
  if (wanted == nullptr || *wanted == '\0') return {highest, reason};
  std::string names;
  for (const Isa isa : kDescending) {
    names += std::string(names.empty() ? "" : ", ") + isa_name(isa);
    if (std::strcmp(wanted, isa_name(isa)) != 0) continue;
    if (isa <= highest) return {isa, std::string("DAQ_ISA=") + wanted};
    return {highest, std::string("DAQ_ISA=") + wanted + " asks for more than there is: " + reason};
  }
  return {highest, std::string("DAQ_ISA=") + wanted + " is none of " + names + "; " + reason};
}

const Choice& choice() {
  static const Choice made = choose();
  return made;
}

}  // namespace

bool isa_available(Isa isa) {
  static const bool available[] = {detect(Isa::portable), detect(Isa::avx2), detect(Isa::avx_vnni), detect(Isa::avx512_vnni),
                                   detect(Isa::amx)};
  return available[static_cast<int>(isa)];
}

bool has_vex_vnni() {
#if defined(__x86_64__)
  static const bool has = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1) != 0;
  }();
  return has;
#else
  return false;
#endif
}

Isa chosen_isa() { return choice().isa; }

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::amx: return "amx";
    case Isa::avx512_vnni: return "avx512_vnni";
    case Isa::avx_vnni: return "avx_vnni";
    case Isa::avx2: return "avx2";
    default: return "portable";
  }
}

const char* isa_reason() { return choice().reason.c_str(); }

}  // namespace daq
