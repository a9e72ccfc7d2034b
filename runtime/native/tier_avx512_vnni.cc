// AVX-512 with VNNI: 16 sums a register, of a whole block of channels.

#include "tier_bytes.h"

namespace daq {
namespace {

struct Dot {
  static Sums of(Sums sum, Sums codes, Sums weights) {
    return reinterpret_cast<Sums>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(codes),
                                                      reinterpret_cast<__m512i>(weights)));
  }
};

// 24 sums stay in registers: the more blocks, the fewer pixels, or pairs.
void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  switch (count) {
    case 1: return rows<Dot, 12, 1>(a, format, x, pixels, first_block, sums, stride);
    case 2: return rows<Dot, 12, 2>(a, format, x, pixels, first_block, sums, stride);
    case 3: return rows<Dot, 8, 3>(a, format, x, pixels, first_block, sums, stride);
    default: return rows<Dot, 6, 4>(a, format, x, pixels, first_block, sums, stride);
  }
}

}  // namespace

extern const Kernels kAvx512VnniKernels = {
    Isa::avx512_vnni, kLargestChunk, kBlocksTogether, true, format, largest_shifted_code, largest_weight, steps, quantize,
    quantize_groups, pair, largest_product, fold, pack, accumulate, leave_nothing, kFinishedTogether, finish, finish_float,
    accumulate_float, planar_statistics,
};

}  // namespace daq
