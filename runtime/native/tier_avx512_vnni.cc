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

// Two blocks at a time: the weights of 64 input channels stay in the first cache from one tile to the next.
void accumulate_pairs(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums, int64_t stride) {
  int block = 0;
  for (; block + 2 <= count; block += 2) row_of_pairs<Dot, 6, 2>(a, x, pixels, first_block + block, sums + block * kBlock, stride);
  if (block < count) row_of_pairs<Dot, 12, 1>(a, x, pixels, first_block + block, sums + block * kBlock, stride);
}

// 24 sums stay in registers: the more blocks, the fewer pixels.
void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  if (format == CodeFormat::byte_pairs) return accumulate_pairs(a, x, pixels, first_block, count, sums, stride);
  switch (count) {
    case 1: return row<Dot, 12, 1>(a, x, pixels, first_block, sums, stride);
    case 2: return row<Dot, 12, 2>(a, x, pixels, first_block, sums, stride);
    case 3: return row<Dot, 8, 3>(a, x, pixels, first_block, sums, stride);
    default: return row<Dot, 6, 4>(a, x, pixels, first_block, sums, stride);
  }
}

}  // namespace

extern const Kernels kAvx512VnniKernels = {
    Isa::avx512_vnni, kLargestChunk, kBlocksTogether, format, largest_shifted_code, largest_weight, steps, quantize,
    quantize_groups, pair, largest_product, fold, pack, accumulate, leave_nothing, kFinishedTogether, finish, finish_float,
    accumulate_float, planar_statistics,
};

}  // namespace daq
