// Sums of products of bytes, for the tiers that have VPDPBUSD: it multiplies four unsigned codes by four signed weights and
// adds all to a sum of 32 bits. Included by these tiers instead of tier.h. `Dot::of(sum, codes, weights)` is the instruction.

#pragma once

#include <utility>

#include "tier.h"

// Or compilers keep sums in memory from one loop to the next. With checks between, so long a function would take them minutes.
#if defined(__SANITIZE_ADDRESS__)
#define DAQ_INLINE
#else
#define DAQ_INLINE __attribute__((always_inline))
#endif

namespace daq {
namespace {  // one copy a tier

typedef int32_t Sums __attribute__((vector_size(sizeof(Part))));

inline Sums sums_load(const void* p) {
  Sums sums;
  std::memcpy(&sums, p, sizeof(sums));
  return sums;
}
inline void sums_store(int32_t* p, const Sums& sums) { std::memcpy(p, &sums, sizeof(sums)); }

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

int64_t steps(int64_t elements, CodeFormat) { return elements / kStepCodes; }

// The weights of some blocks, a register of them a column.
template <int kColumns>
struct Columns {
  const uint8_t* weights;
  int64_t block_bytes;

  const uint8_t* of(int column) const {
    return weights + column / kParts * block_bytes + column % kParts * static_cast<int64_t>(sizeof(Sums));
  }
};

// Calls function(row, column) for each, of integral constants: sums stay in registers where no index is a variable.
template <int kColumns, class Function, int... kIndices>
DAQ_INLINE inline void call_each(const Function& function, std::integer_sequence<int, kIndices...>) {
  (function(std::integral_constant<int, kIndices / kColumns>{}, std::integral_constant<int, kIndices % kColumns>{}), ...);
}
template <int kRows, int kColumns, class Function>
DAQ_INLINE inline void for_each_sum(const Function& function) {
  call_each<kColumns>(function, std::make_integer_sequence<int, kRows * kColumns>{});
}

// Adds the products of some rows of codes, `advance` bytes apart, with the weights of all segments, a step each. Of every four
// rows the first has an address, from which the others are one to three times the distance: so registers do for all.
template <class Dot, int kRows, int kColumns>
DAQ_INLINE inline void add_products(const Accumulation& a, int64_t offset, int64_t advance, Columns<kColumns> columns,
                                    Sums (&sum)[kRows][kColumns]) {
  constexpr int kApart = 4;
  int64_t three = 3 * advance;
  __asm__("" : "+r"(three));  // or it would be computed again
  const uint8_t* codes[(kRows + kApart - 1) / kApart];
  Sums weight[kColumns], code;
  int segment = 0;
  do {
    for_each_sum<1, kColumns>([&](auto, auto c) DAQ_INLINE { weight[c] = sums_load(columns.of(c)); });
    for_each_sum<kRows, kColumns>([&](auto r, auto c) DAQ_INLINE {
      if constexpr (c == 0) {
        if constexpr (r % kApart == 0) {
          codes[r / kApart] = a.codes[segment] + offset + r * advance;
          __asm__("" : "+r"(codes[r / kApart]));
        }
        int32_t four;
        std::memcpy(&four, codes[r / kApart] + (r % kApart == 3 ? three : r % kApart * advance), sizeof(four));
        code = Sums{} + four;
      }
      sum[r][c] = Dot::of(sum[r][c], code, weight[c]);
    });
    columns.weights += kStepBytes;
  } while (++segment < a.segments);
}

template <class Dot, int kPixels, int kBlocks>
void tile(const Accumulation& a, int64_t x, int first_block, int32_t* sums, int64_t stride) {
  constexpr int kColumns = kBlocks * kParts;
  const int64_t block_bytes = static_cast<int64_t>(a.segments) * kStepBytes;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  Sums sum[kPixels][kColumns];
  for_each_sum<kPixels, kColumns>([&](auto p, auto c) DAQ_INLINE { sum[p][c] = Sums{}; });
  add_products<Dot, kPixels, kColumns>(a, x * a.advance, a.advance, {weights, block_bytes}, sum);
  for_each_sum<kPixels, kColumns>(
      [&](auto p, auto c) DAQ_INLINE { sums_store(sums + p * stride + c * kPartLanes, sum[p][c]); });
}

// The sums of the two outputs of a pair are m0 + m1 + m2 and m1 - (m2 + m3). As many pairs as registers hold sums of are
// computed product after product, and what both outputs need waits in memory.
template <class Dot, int kPairs, int kBlocks>
void tile_pairs(const Accumulation& a, int64_t x, int first_block, int32_t* sums, int64_t stride) {
  constexpr int kColumns = kBlocks * kParts;
  const int64_t product_bytes = static_cast<int64_t>(a.segments) * kStepBytes;
  const int64_t block_bytes = kPairProducts * product_bytes + kPairCorrection;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  Sums sum[kPairs][kColumns];
  const auto for_each = [](const auto& function) DAQ_INLINE { for_each_sum<kPairs, kColumns>(function); };
  const auto add = [&](int product) DAQ_INLINE {
    add_products<Dot, kPairs, kColumns>(a, x * a.advance + product * (a.advance / 2), 2 * a.advance,
                                        {weights + product * product_bytes, block_bytes}, sum);
  };
  const auto output = [&](int p, int c, int which) { return sums + (2 * p + which) * stride + c * kPartLanes; };
  const Columns<kColumns> of_first{weights + kPairProducts * product_bytes, block_bytes};
  const Columns<kColumns> of_second{of_first.weights + kStepBytes, block_bytes};
  for_each([&](auto p, auto c) DAQ_INLINE { sum[p][c] = sums_load(of_first.of(c)); });
  add(1);
  for_each([&](auto p, auto c) DAQ_INLINE { sums_store(output(p, c, 1), sum[p][c]); });
  add(0);
  for_each([&](auto p, auto c) DAQ_INLINE {
    sums_store(output(p, c, 0), sum[p][c]);
    sum[p][c] = sums_load(of_second.of(c));
  });
  add(2);
  for_each([&](auto p, auto c) DAQ_INLINE { sums_store(output(p, c, 0), sums_load(output(p, c, 0)) + sum[p][c]); });
  add(3);
  for_each([&](auto p, auto c) DAQ_INLINE { sums_store(output(p, c, 1), sums_load(output(p, c, 1)) - sum[p][c]); });
}

// The sums of some pixels, or pairs, and blocks at a time. The last pair of an odd number of pixels gives one too many; there is
// room for it.
template <class Dot, int kTogether, int kBlocks>
void rows(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int32_t* sums, int64_t stride) {
  if (format == CodeFormat::byte_pairs) {
    for_groups<kTogether>((pixels + 1) / 2, [&](int64_t p, auto together) {
      tile_pairs<Dot, decltype(together)::value, kBlocks>(a, x + 2 * p, first_block, sums + 2 * p * stride, stride);
    });
  } else {
    for_groups<kTogether>(pixels, [&](int64_t p, auto together) {
      tile<Dot, decltype(together)::value, kBlocks>(a, x + p, first_block, sums + p * stride, stride);
    });
  }
}

#undef DAQ_INLINE

}  // namespace
}  // namespace daq
