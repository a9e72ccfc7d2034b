// AVX-512 with VNNI: VPDPBUSD multiplies four unsigned bytes by four signed ones and adds them to one of 16 sums.

#include "tier.h"

namespace daq {
namespace {

CodeFormat format(int largest_code, bool exact, int64_t neighbours) {
  if (exact) return CodeFormat::two_planes;
  return neighbours == 3 && largest_code < kPairZero ? CodeFormat::byte_pairs : CodeFormat::bytes;
}

int largest_shifted_code(int largest_code, CodeFormat format) {
  switch (format) {
    case CodeFormat::bytes: return 255;
    case CodeFormat::byte_pairs: return kPairZero - 1;  // sums of two are bytes
    default: return largest_code;
  }
}

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  switch (format) {
    case CodeFormat::bytes: return weight_limit(127, largest_code, products);
    case CodeFormat::byte_pairs: return weight_limit(127, 255, 2 * products);
    default: return 32639;  // the high plane must fit eight bits after the low plane was rounded off
  }
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

// Adds to `sum` the products of one transformed code of each pair and kernel row with its weights.
template <int kPairs, int kBlocks>
inline void add_products(const Accumulation& a, int64_t x, int product, const uint8_t* weights, int64_t block_bytes,
                         __m512i (&sum)[kPairs][kBlocks]) {
  const int64_t steps = a.steps / kPairProducts;
  weights += product * a.segments * steps * kStepBytes;
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + x * a.advance + product * steps * 4;
    for (int64_t step = 0; step < steps; ++step) {
      __m512i weight[kBlocks];
      for (int b = 0; b < kBlocks; ++b) weight[b] = _mm512_loadu_si512(weights + b * block_bytes);
      for (int p = 0; p < kPairs; ++p) {
        int32_t four;
        std::memcpy(&four, codes + 2 * p * a.advance, sizeof(four));
        const __m512i code = _mm512_set1_epi32(four);
        for (int b = 0; b < kBlocks; ++b) sum[p][b] = _mm512_dpbusd_epi32(sum[p][b], code, weight[b]);
      }
      weights += kStepBytes;
      codes += 4;
    }
  }
}

// The sums of the two outputs of a pair are m1 + m2 + m0 and m1 - m2 - m3, and stay in the registers that m1 and m2 took.
template <int kPairs, int kBlocks>
void tile_pairs(const Accumulation& a, int64_t x, int first_block, int32_t* sums, int64_t stride) {
  const int64_t weight_bytes = a.segments * a.steps * kStepBytes, block_bytes = weight_bytes + kPairCorrection;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  __m512i first[kPairs][kBlocks], second[kPairs][kBlocks];
  for (int p = 0; p < kPairs; ++p) {
    for (int b = 0; b < kBlocks; ++b) first[p][b] = second[p][b] = _mm512_setzero_si512();
  }
  add_products(a, x, 1, weights, block_bytes, first);
  add_products(a, x, 2, weights, block_bytes, second);
  for (int b = 0; b < kBlocks; ++b) {
    const uint8_t* corrections = weights + b * block_bytes + weight_bytes;
    const __m512i of_first = _mm512_loadu_si512(corrections), of_second = _mm512_loadu_si512(corrections + kStepBytes);
    for (int p = 0; p < kPairs; ++p) {
      const __m512i sum = _mm512_add_epi32(first[p][b], second[p][b]);
      const __m512i difference = _mm512_sub_epi32(first[p][b], second[p][b]);
      first[p][b] = _mm512_add_epi32(sum, of_first);
      second[p][b] = _mm512_add_epi32(difference, of_second);
    }
  }
  add_products(a, x, 0, weights, block_bytes, first);
  add_products(a, x, 3, weights, block_bytes, second);
  for (int p = 0; p < kPairs; ++p) {
    for (int b = 0; b < kBlocks; ++b) {
      _mm512_storeu_si512(sums + 2 * p * stride + b * kBlock, first[p][b]);
      _mm512_storeu_si512(sums + (2 * p + 1) * stride + b * kBlock, second[p][b]);
    }
  }
}

// The last pair of an odd number of pixels gives one too many; there is room for it.
template <int kPairs, int kBlocks>
void row_of_pairs(const Accumulation& a, int64_t x, int pairs, int first_block, int32_t* sums, int64_t stride) {
  int p = 0;
  for (; p + kPairs <= pairs; p += kPairs) {
    tile_pairs<kPairs, kBlocks>(a, x + 2 * p, first_block, sums + 2 * p * stride, stride);
  }
  if constexpr (kPairs > 1) {
    if (p < pairs) row_of_pairs<kPairs / 2, kBlocks>(a, x + 2 * p, pairs - p, first_block, sums + 2 * p * stride, stride);
  }
}

// Two blocks at a time: the weights of 64 input channels stay in the first cache from one tile to the next.
void accumulate_pairs(const Accumulation& a, int64_t x, int pairs, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  int block = 0;
  for (; block + 2 <= count; block += 2) row_of_pairs<6, 2>(a, x, pairs, first_block + block, sums + block * kBlock, stride);
  if (block < count) row_of_pairs<12, 1>(a, x, pairs, first_block + block, sums + block * kBlock, stride);
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

void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  if (format == CodeFormat::byte_pairs) return accumulate_pairs(a, x, (pixels + 1) / 2, first_block, count, sums);
  switch (count) {
    case 1: return row<12, 1>(a, x, pixels, first_block, sums);
    case 2: return row<12, 2>(a, x, pixels, first_block, sums);
    case 3: return row<8, 3>(a, x, pixels, first_block, sums);
    default: return row<6, 4>(a, x, pixels, first_block, sums);
  }
}

}  // namespace

extern const Kernels kAvx512VnniKernels = {
    Isa::avx512_vnni, 48, kBlocksTogether, format, largest_shifted_code, largest_weight, steps, quantize, quantize_groups,
    pair, largest_product, fold, pack, accumulate, leave_nothing, kFinishedTogether, finish, finish_float, accumulate_float,
    planar_statistics,
};

}  // namespace daq
