#include "kernels.h"

namespace daq {

extern const Kernels kPortableKernels;
#if defined(DAQ_X86_TIERS)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvxVnniEvexKernels;
extern const Kernels kAvx512VnniKernels;
extern const Kernels kAmxKernels;
#endif

const Kernels& kernels_of(Isa isa) {
#if defined(DAQ_X86_TIERS)
  switch (isa) {
    case Isa::amx: return kAmxKernels;
    case Isa::avx512_vnni: return kAvx512VnniKernels;
    case Isa::avx_vnni: return has_vex_vnni() ? kAvxVnniKernels : kAvxVnniEvexKernels;
    case Isa::avx2: return kAvx2Kernels;
    default: return kPortableKernels;
  }
#else
  static_cast<void>(isa);
  return kPortableKernels;
#endif
}

const Kernels& chosen_kernels() { return kernels_of(chosen_isa()); }

}  // namespace daq
