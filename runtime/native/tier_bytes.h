// Sums of products of bytes, for the tiers that have VPDPBUSD: it multiplies four unsigned codes by four signed weights and
// adds all to a sum of 32 bits. Included by these tiers instead of tier.h. `Dot::of(sum, codes, weights)` is the instruction.

#pragma once

#include "tier.h"

namespace daq {
namespace {  // one copy a tier

typedef int32_t Sums __attribute__((vector_size(sizeof(Part))));

inline Sums sums_load(const void* p) {
  Sums sums;
  std::memcpy(&sums, p, sizeof(sums));
  return sums;
}

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

// The weights of some blocks, a register of them a column.
template <int kColumns>
struct Columns {
  const uint8_t* weights;
  int64_t block_bytes;

  const uint8_t* of(int column) const {
    return weights + column / kParts * block_bytes + column % kParts * static_cast<int64_t>(sizeof(Sums));
  }
};

// Adds the products of some rows of codes, `advance` bytes apart, with the weights of so many steps a segment.
template <class Dot, int kRows, int kColumns>
inline void add_products(const Accumulation& a, int64_t offset, int64_t advance, int64_t steps, Columns<kColumns> columns,
                         Sums (&sum)[kRows][kColumns]) {
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + offset;
    for (int64_t step = 0; step < steps; ++step) {
      Sums weight[kColumns];
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) weight[c] = sums_load(columns.of(c));
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        int32_t four;
        std::memcpy(&four, codes + r * advance, sizeof(four));
        const Sums code = Sums{} + four;
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) sum[r][c] = Dot::of(sum[r][c], code, weight[c]);
      }
      columns.weights += kStepBytes;
      codes += 4;
    }
  }
}

template <class Dot, int kPixels, int kBlocks>
void tile(const Accumulation& a, int64_t x, int first_block, int32_t* sums, int64_t stride) {
  constexpr int kColumns = kBlocks * kParts;
  const int64_t block_bytes = a.segments * a.steps * kStepBytes;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  Sums sum[kPixels][kColumns];
#pragma GCC unroll 12
  for (int p = 0; p < kPixels; ++p) {
    for (int c = 0; c < kColumns; ++c) sum[p][c] = Sums{};
  }
  add_products<Dot, kPixels, kColumns>(a, x * a.advance, a.advance, a.steps, {weights, block_bytes}, sum);
#pragma GCC unroll 12
  for (int p = 0; p < kPixels; ++p) {
    for (int c = 0; c < kColumns; ++c) std::memcpy(sums + p * stride + c * kPartLanes, &sum[p][c], sizeof(Sums));
  }
}

// The sums of the two outputs of a pair are m1 + m2 + m0 and m1 - m2 - m3, and stay in the registers that m1 and m2 took.
template <class Dot, int kPairs, int kBlocks>
void tile_pairs(const Accumulation& a, int64_t x, int first_block, int32_t* sums, int64_t stride) {
  constexpr int kColumns = kBlocks * kParts;
  const int64_t steps = a.steps / kPairProducts, product_bytes = a.segments * steps * kStepBytes;
  const int64_t block_bytes = kPairProducts * product_bytes + kPairCorrection;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  const auto add = [&](int product, auto& sum) {
    add_products<Dot, kPairs, kColumns>(a, x * a.advance + product * steps * 4, 2 * a.advance, steps,
                                   {weights + product * product_bytes, block_bytes}, sum);
  };
  Sums first[kPairs][kColumns], second[kPairs][kColumns];
  for (int p = 0; p < kPairs; ++p) {
    for (int c = 0; c < kColumns; ++c) first[p][c] = second[p][c] = Sums{};
  }
  add(1, first);
  add(2, second);
  const Columns<kColumns> of_first{weights + kPairProducts * product_bytes, block_bytes};
  const Columns<kColumns> of_second{of_first.weights + kStepBytes, block_bytes};
  for (int c = 0; c < kColumns; ++c) {
    const Sums first_correction = sums_load(of_first.of(c)), second_correction = sums_load(of_second.of(c));
    for (int p = 0; p < kPairs; ++p) {
      const Sums sum = first[p][c] + second[p][c], difference = first[p][c] - second[p][c];
      first[p][c] = sum + first_correction;
      second[p][c] = difference + second_correction;
    }
  }
  add(0, first);
  add(3, second);
  for (int p = 0; p < kPairs; ++p) {
    for (int c = 0; c < kColumns; ++c) {
      std::memcpy(sums + 2 * p * stride + c * kPartLanes, &first[p][c], sizeof(Sums));
      std::memcpy(sums + (2 * p + 1) * stride + c * kPartLanes, &second[p][c], sizeof(Sums));
    }
  }
}

template <class Dot, int kPixels, int kBlocks>
void row(const Accumulation& a, int64_t x, int pixels, int first_block, int32_t* sums, int64_t stride) {
  for_groups<kPixels>(pixels, [&](int64_t p, auto together) {
    tile<Dot, decltype(together)::value, kBlocks>(a, x + p, first_block, sums + p * stride, stride);
  });
}

// The last pair of an odd number of pixels gives one too many; there is room for it.
template <class Dot, int kPairs, int kBlocks>
void row_of_pairs(const Accumulation& a, int64_t x, int pixels, int first_block, int32_t* sums, int64_t stride) {
  for_groups<kPairs>((pixels + 1) / 2, [&](int64_t p, auto together) {
    tile_pairs<Dot, decltype(together)::value, kBlocks>(a, x + 2 * p, first_block, sums + 2 * p * stride, stride);
  });
}

}  // namespace
}  // namespace daq
