// AVX2. Codes of up to four bits: VPMADDUBSW adds products of unsigned and signed bytes in pairs to 16 bits, and eight such
// sums fit before they are widened (8 * 2 * 15 * 127 < 2^15). Wider codes: 16-bit products (VPMADDWD), by Winograd's filters
// where kernels are three wide.

#include <vector>

#include "tier_filters.h"

namespace daq {
namespace {

// Pixels, or groups of neighbours, whose sums stay in registers: twelve, and two of weights, one of codes, one of products.
// Loops over them are unrolled by name: left to itself, GCC 12 keeps sums in memory.
constexpr int kInRegisters = 6;
constexpr int kFiltered = Quads::kSize * kInRegisters;  // pixels whose codes are filtered together
constexpr int kLargestByteCode = 15;
constexpr int64_t kStepsBeforeWidening = 8;

CodeFormat format(int largest_code, bool exact, int64_t neighbours) {
  if (!exact && largest_code <= kLargestByteCode) return CodeFormat::bytes;
  return neighbours == 3 ? filter_format(exact) : CodeFormat::words;
}

int largest_shifted_code(int largest_code, CodeFormat format) {
  return format == CodeFormat::bytes ? kLargestByteCode : largest_code;
}

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  if (is_filter(format)) return filter_largest_weight(largest_code, products, format);
  return weight_limit(format == CodeFormat::bytes ? 127 : 32767, largest_code, products);
}

int64_t steps(int64_t elements, CodeFormat format) {
  return is_filter(format) ? filter_steps(elements, format) : elements / (format == CodeFormat::bytes ? 4 : 2);
}

void pack_tiles(const int16_t* folded, int segments, int64_t elements, int64_t steps, CodeFormat format, void* packed) {
  if (!is_filter(format)) return pack(folded, segments, elements, steps, format, packed);
  const int products = segments * (format == CodeFormat::pairs ? Pairs::kProducts : Quads::kProducts);
  const int64_t channels = elements / 3;
  std::vector<int16_t> weights(static_cast<size_t>(kBlock * products * channels));
  filter_weights(folded, segments, elements, format, weights.data());
  pack_steps(weights.data(), products, channels, channels / 2, 0, true, static_cast<int16_t*>(packed));
}

inline __m256i broadcast(const uint8_t* codes) {
  int32_t four;
  std::memcpy(&four, codes, sizeof(four));
  return _mm256_set1_epi32(four);
}

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// A function of its own, so that all sums stay in registers: inlined, GCC 12 keeps one in memory, a third slower.
template <int kPixels>
__attribute__((noinline)) void tile_bytes(const Accumulation& a, int64_t x, const uint8_t* weights, int32_t* sums,
                                          int64_t stride) {
  for (int p = 0; p < kPixels; ++p) {
    store(sums + p * stride, _mm256_setzero_si256());
    store(sums + p * stride + 8, _mm256_setzero_si256());
  }
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + x * a.advance;
    for (int64_t step = 0; step < a.steps;) {
      const int64_t stop = smaller(a.steps, step + kStepsBeforeWidening);
      __m256i narrow[kPixels][2];
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) narrow[p][0] = narrow[p][1] = _mm256_setzero_si256();
#pragma GCC unroll 2
      for (; step < stop; ++step) {
        const __m256i first = load(weights), second = load(weights + 32);
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) {
          const __m256i code = broadcast(codes + p * a.advance);
          narrow[p][0] = _mm256_add_epi16(narrow[p][0], _mm256_maddubs_epi16(code, first));
          narrow[p][1] = _mm256_add_epi16(narrow[p][1], _mm256_maddubs_epi16(code, second));
        }
        weights += kStepBytes;
        codes += 4;
      }
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) {
        for (int h = 0; h < 2; ++h) {
          int32_t* sum = sums + p * stride + 8 * h;
          store(sum, _mm256_add_epi32(load(sum), _mm256_madd_epi16(narrow[p][h], _mm256_set1_epi16(1))));
        }
      }
    }
  }
}

// Adds the products of some rows of codes with the weights of a block.
template <int kRows>
inline void add_words(const uint8_t* codes, int64_t advance, const uint8_t* weights, int64_t steps, __m256i (&sum)[kRows][2]) {
#pragma GCC unroll 2
  for (int64_t step = 0; step < steps; ++step) {
    const __m256i first = load(weights), second = load(weights + 32);
#pragma GCC unroll 8
    for (int p = 0; p < kRows; ++p) {
      const __m256i code = broadcast(codes + p * advance);
      sum[p][0] = _mm256_add_epi32(sum[p][0], _mm256_madd_epi16(code, first));
      sum[p][1] = _mm256_add_epi32(sum[p][1], _mm256_madd_epi16(code, second));
    }
    codes += 4;
    weights += kStepBytes;
  }
}

template <int kPixels>
void tile_words(const Accumulation& a, int64_t x, const uint8_t* weights, int32_t* sums, int64_t stride) {
  __m256i sum[kPixels][2];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) sum[p][0] = sum[p][1] = _mm256_setzero_si256();
  for (int segment = 0; segment < a.segments; ++segment) {
    add_words<kPixels>(a.codes[segment] + x * a.advance, a.advance, weights, a.steps, sum);
    weights += a.steps * kStepBytes;
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    store(sums + p * stride, sum[p][0]);
    store(sums + p * stride + 8, sum[p][1]);
  }
}

typedef int32_t Ints __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(32)));

using Products = Words[kInRegisters][2];

// The products of some rows of factors, kAdvance bytes apart, with the weights of a block.
template <int kRows, int64_t kAdvance>
__attribute__((noinline)) void dot(const int16_t* factors, const uint8_t* weights, int64_t steps, Products& products) {
  __m256i sum[kRows][2];
#pragma GCC unroll 8
  for (int g = 0; g < kRows; ++g) sum[g][0] = sum[g][1] = _mm256_setzero_si256();
  add_words<kRows>(reinterpret_cast<const uint8_t*>(factors), kAdvance, weights, steps, sum);
#pragma GCC unroll 8
  for (int g = 0; g < kRows; ++g) {
    for (int h = 0; h < 2; ++h) store(&products[g][h], sum[g][h]);
  }
}

// A few pixels, all blocks, `Filter::kSize` neighbours at a time. What comes of groups that are not there is not used.
template <class Filter>
void neighbours(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  constexpr int kSize = Filter::kSize, kProducts = Filter::kProducts;
  const int64_t position = a.segments * a.steps / kProducts, stride = static_cast<int64_t>(count) * kBlock;
  constexpr int64_t kAdvance = Factors<Filter, kFiltered>::kRow * sizeof(int16_t);
  for_pieces<Filter, kFiltered>(a, x, pixels, [&](const auto& factors, int groups, int64_t start, int64_t length) {
    for (int block = 0; block < count; ++block) {
      const uint8_t* weights = static_cast<const uint8_t*>(a.weights) +
                               ((first_block + block) * kProducts * position + start) / 2 * kStepBytes;
      for (int g = 0, together; g < groups; g += together) {
        together = groups - g > 4 ? kInRegisters : 4;
        const auto dot_rows = together == 4 ? dot<4, kAdvance> : dot<kInRegisters, kAdvance>;
        Products products[kProducts];
        for (int p = 0; p < kProducts; ++p) {
          dot_rows(factors.of[p][g], weights + p * position / 2 * kStepBytes, length / 2, products[p]);
        }
        for (int i = 0; i < together && g + i < groups; ++i) {
          const int first = kSize * (g + i), valid = static_cast<int>(smaller(kSize, pixels - first));
          for (int half = 0; half < 2; ++half) {
            Words product[kProducts];
            for (int p = 0; p < kProducts; ++p) product[p] = products[p][i][half];
            Ints results[kSize];
            Filter::results_of(product, results);
            for (int r = 0; r < valid; ++r) {
              int32_t* sum = sums + (first + r) * stride + block * kBlock + 8 * half;
              store(sum, _mm256_add_epi32(load(sum), reinterpret_cast<__m256i>(results[r])));
            }
          }
        }
      }
    }
  });
}

void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  if (is_filter(format)) {
    auto* some = format == CodeFormat::quads ? neighbours<Quads> : neighbours<Pairs>;
    return accumulate_groups<kFiltered>(some, a, x, pixels, first_block, count, sums);
  }
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int block = 0; block < count; ++block) {
    const auto* weights =
        static_cast<const uint8_t*>(a.weights) + (first_block + block) * a.segments * a.steps * kStepBytes;
    for_groups<kInRegisters>(pixels, [&](int64_t p, auto together) {
      constexpr int kPixels = decltype(together)::value;
      const auto tile = format == CodeFormat::bytes ? tile_bytes<kPixels> : tile_words<kPixels>;
      tile(a, x + p, weights, sums + p * stride + block * kBlock, stride);
    });
  }
}

}  // namespace

extern const Kernels kAvx2Kernels = {
    Isa::avx2, kLargestChunk, kBlocksTogether, false, format, largest_shifted_code, largest_weight, steps, quantize,
    quantize_groups, pair, largest_product, fold, pack_tiles, accumulate, leave_nothing, kFinishedTogether, finish,
    finish_float, accumulate_float, planar_statistics,
};

}  // namespace daq
