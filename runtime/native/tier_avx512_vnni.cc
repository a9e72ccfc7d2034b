// AVX-512 with VNNI: VPDPBUSD multiplies four unsigned bytes by four signed ones and adds them to one of 16 sums.

#include "tier.h"

namespace daq {
namespace {

CodeFormat format(int, bool exact, int64_t) { return exact ? CodeFormat::two_planes : CodeFormat::bytes; }

int largest_shifted_code(int largest_code, CodeFormat format) {
  return format == CodeFormat::bytes ? 255 : largest_code;
}

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  // The high plane of a 16-bit weight must fit eight bits after its low plane was rounded off.
  return format == CodeFormat::bytes ? weight_limit(127, largest_code, products) : 32639;
}

int64_t steps(int64_t elements, CodeFormat) { return elements / 4; }

// 24 sums of 16 channels stay in registers: the more blocks, the fewer pixels.
template <int kPixels, int kBlocks>
void tile(const Accumulation& a, int64_t x, int first_block, int32_t* sums, int64_t stride) {
  const int64_t block_bytes = a.segments * a.steps * kStepBytes;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  __m512i sum[kPixels][kBlocks];
  for (int p = 0; p < kPixels; ++p) {
    for (int b = 0; b < kBlocks; ++b) sum[p][b] = _mm512_setzero_si512();
  }
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + x * a.advance;
    for (int64_t step = 0; step < a.steps; ++step) {
      __m512i weight[kBlocks];
      for (int b = 0; b < kBlocks; ++b) weight[b] = _mm512_loadu_si512(weights + b * block_bytes);
      for (int p = 0; p < kPixels; ++p) {
        int32_t four;
        std::memcpy(&four, codes + p * a.advance, sizeof(four));
        const __m512i code = _mm512_set1_epi32(four);
        for (int b = 0; b < kBlocks; ++b) sum[p][b] = _mm512_dpbusd_epi32(sum[p][b], code, weight[b]);
      }
      weights += kStepBytes;
      codes += 4;
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    for (int b = 0; b < kBlocks; ++b) _mm512_storeu_si512(sums + p * stride + b * kBlock, sum[p][b]);
  }
}

template <int kPixels, int kBlocks>
void row(const Accumulation& a, int64_t x, int pixels, int first_block, int32_t* sums) {
  constexpr int64_t kStride = kBlocks * kBlock;
  int p = 0;
  for (; p + kPixels <= pixels; p += kPixels) tile<kPixels, kBlocks>(a, x + p, first_block, sums + p * kStride, kStride);
  if constexpr (kPixels > 1) {
    if (p < pixels) row<kPixels / 2, kBlocks>(a, x + p, pixels - p, first_block, sums + p * kStride);
  }
}

void accumulate(const Accumulation& a, CodeFormat, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  switch (count) {
    case 1: return row<12, 1>(a, x, pixels, first_block, sums);
    case 2: return row<12, 2>(a, x, pixels, first_block, sums);
    case 3: return row<8, 3>(a, x, pixels, first_block, sums);
    default: return row<6, 4>(a, x, pixels, first_block, sums);
  }
}

}  // namespace

extern const Kernels kAvx512VnniKernels = {
    Isa::avx512_vnni, 48,   format, largest_shifted_code, largest_weight, steps, quantize, largest_product, fold, pack,
    accumulate, leave_nothing, finish, finish_float,         accumulate_float, planar_statistics,
};

}  // namespace daq
