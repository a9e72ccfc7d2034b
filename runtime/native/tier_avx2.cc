// AVX2. Codes of up to four bits: VPMADDUBSW adds products of unsigned and signed bytes in pairs to 16 bits, and eight such
// sums fit before they are widened (8 * 2 * 15 * 127 < 2^15). Wider codes: 16-bit products (VPMADDWD), exact as they are.

#include "tier.h"

namespace daq {
namespace {

constexpr int kLargestByteCode = 15;
constexpr int64_t kStepsBeforeWidening = 8;

CodeFormat format(int largest_code, bool exact, int64_t) {
  return exact || largest_code > kLargestByteCode ? CodeFormat::words : CodeFormat::bytes;
}

int largest_shifted_code(int largest_code, CodeFormat format) {
  return format == CodeFormat::bytes ? kLargestByteCode : largest_code;
}

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  return weight_limit(format == CodeFormat::bytes ? 127 : 32767, largest_code, products);
}

int64_t steps(int64_t elements, CodeFormat format) { return elements / (format == CodeFormat::bytes ? 4 : 2); }

inline __m256i broadcast(const uint8_t* codes) {
  int32_t four;
  std::memcpy(&four, codes, sizeof(four));
  return _mm256_set1_epi32(four);
}

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

template <int kPixels>
void tile_bytes(const Accumulation& a, int64_t x, const uint8_t* weights, int32_t* sums, int64_t stride) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int p = 0; p < kPixels; ++p) {
    store(sums + p * stride, _mm256_setzero_si256());
    store(sums + p * stride + 8, _mm256_setzero_si256());
  }
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + x * a.advance;
    for (int64_t step = 0; step < a.steps;) {
      const int64_t stop = smaller(a.steps, step + kStepsBeforeWidening);
      __m256i narrow[kPixels][2];
      for (int p = 0; p < kPixels; ++p) narrow[p][0] = narrow[p][1] = _mm256_setzero_si256();
      for (; step < stop; ++step) {
        const __m256i first = load(weights), second = load(weights + 32);
        for (int p = 0; p < kPixels; ++p) {
          const __m256i code = broadcast(codes + p * a.advance);
          narrow[p][0] = _mm256_add_epi16(narrow[p][0], _mm256_maddubs_epi16(code, first));
          narrow[p][1] = _mm256_add_epi16(narrow[p][1], _mm256_maddubs_epi16(code, second));
        }
        weights += kStepBytes;
        codes += 4;
      }
      for (int p = 0; p < kPixels; ++p) {
        for (int h = 0; h < 2; ++h) {
          int32_t* sum = sums + p * stride + 8 * h;
          store(sum, _mm256_add_epi32(load(sum), _mm256_madd_epi16(narrow[p][h], ones)));
        }
      }
    }
  }
}

template <int kPixels>
void tile_words(const Accumulation& a, int64_t x, const uint8_t* weights, int32_t* sums, int64_t stride) {
  __m256i sum[kPixels][2];
  for (int p = 0; p < kPixels; ++p) sum[p][0] = sum[p][1] = _mm256_setzero_si256();
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + x * a.advance;
    for (int64_t step = 0; step < a.steps; ++step) {
      const __m256i first = load(weights), second = load(weights + 32);
      for (int p = 0; p < kPixels; ++p) {
        const __m256i code = broadcast(codes + p * a.advance);
        sum[p][0] = _mm256_add_epi32(sum[p][0], _mm256_madd_epi16(code, first));
        sum[p][1] = _mm256_add_epi32(sum[p][1], _mm256_madd_epi16(code, second));
      }
      weights += kStepBytes;
      codes += 4;
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    store(sums + p * stride, sum[p][0]);
    store(sums + p * stride + 8, sum[p][1]);
  }
}

template <int kPixels>
void row(const Accumulation& a, bool bytes, int64_t x, int pixels, const uint8_t* weights, int32_t* sums, int64_t stride) {
  int p = 0;
  for (; p + kPixels <= pixels; p += kPixels) {
    if (bytes) {
      tile_bytes<kPixels>(a, x + p, weights, sums + p * stride, stride);
    } else {
      tile_words<kPixels>(a, x + p, weights, sums + p * stride, stride);
    }
  }
  if constexpr (kPixels > 1) {
    if (p < pixels) row<kPixels / 2>(a, bytes, x + p, pixels - p, weights, sums + p * stride, stride);
  }
}

void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int block = 0; block < count; ++block) {
    const auto* weights =
        static_cast<const uint8_t*>(a.weights) + (first_block + block) * a.segments * a.steps * kStepBytes;
    row<4>(a, format == CodeFormat::bytes, x, pixels, weights, sums + block * kBlock, stride);
  }
}

}  // namespace

extern const Kernels kAvx2Kernels = {
    Isa::avx2, 24,   format, largest_shifted_code, largest_weight, steps, quantize, pair, largest_product, fold, pack,
    accumulate, leave_nothing, finish, finish_float,         accumulate_float, planar_statistics,
};

}  // namespace daq
