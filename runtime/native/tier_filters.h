// Winograd's minimal filtering of 16-bit codes, for kernels three wide: two outputs from four products instead of six, or
// four from six instead of twelve. Included by the tiers that multiply 16-bit numbers.

#pragma once

#include "tier.h"

namespace daq {
namespace {

// Two outputs from four pixels of codes: F(2, 3).
struct Pairs {
  static constexpr int kSize = 2, kProducts = 4;

  static void factors_of(const int16_t* codes, int64_t channels, int64_t c, int16_t* const (&factors)[kProducts]) {
    const int c0 = codes[c], c1 = codes[channels + c], c2 = codes[2 * channels + c], c3 = codes[3 * channels + c];
    factors[0][c] = static_cast<int16_t>(c0 - c2);
    factors[1][c] = static_cast<int16_t>(c1 + c2);
    factors[2][c] = static_cast<int16_t>(c2 - c1);
    factors[3][c] = static_cast<int16_t>(c1 - c3);
  }

  // Twice Winograd's weights, which are whole numbers.
  static void weights_of(int left, int middle, int right, int (&weights)[kProducts]) {
    weights[0] = 2 * left;
    weights[1] = left + middle + right;
    weights[2] = left - middle + right;
    weights[3] = 2 * right;
  }

  // Words are uint32_t or vectors of it.
  template <class Signed, class Word>
  static void results_of(const Word (&product)[kProducts], Signed (&results)[kSize]) {
    results[0] = Signed(product[0] + product[1] + product[2]) >> 1;
    results[1] = Signed(product[1] - product[2] - product[3]) >> 1;
  }
};

// Four outputs from six pixels of codes: F(4, 3).
struct Quads {
  static constexpr int kSize = 4, kProducts = 6;

  static void factors_of(const int16_t* codes, int64_t channels, int64_t c, int16_t* const (&factors)[kProducts]) {
    const int c0 = codes[c], c1 = codes[channels + c], c2 = codes[2 * channels + c], c3 = codes[3 * channels + c];
    const int c4 = codes[4 * channels + c], c5 = codes[5 * channels + c];
    const int even = c4 - 4 * c2, odd = c3 - 4 * c1, near = c4 - c2, across = 2 * (c3 - c1);
    factors[0][c] = static_cast<int16_t>(4 * c0 - 5 * c2 + c4);
    factors[1][c] = static_cast<int16_t>(even + odd);
    factors[2][c] = static_cast<int16_t>(even - odd);
    factors[3][c] = static_cast<int16_t>(near + across);
    factors[4][c] = static_cast<int16_t>(near - across);
    factors[5][c] = static_cast<int16_t>(4 * c1 - 5 * c3 + c5);
  }

  // 24 times Winograd's weights.
  static void weights_of(int left, int middle, int right, int (&weights)[kProducts]) {
    weights[0] = 6 * left;
    weights[1] = -4 * (left + middle + right);
    weights[2] = -4 * (left - middle + right);
    weights[3] = left + 2 * middle + 4 * right;
    weights[4] = left - 2 * middle + 4 * right;
    weights[5] = 24 * right;
  }

  // Sums of products may leave 32 bits where the results do not.
  template <class Signed, class Word>
  static void results_of(const Word (&product)[kProducts], Signed (&results)[kSize]) {
    const Word sum = product[1] + product[2], difference = product[1] - product[2];
    const Word far = product[3] + product[4], apart = product[3] - product[4];
    // Without a rest, division by 3 is multiplication by its inverse modulo 2^32.
    const auto divide = [](Word value) { return Signed(Word(Signed(value) >> 3) * 0xaaaaaaabu); };
    results[0] = divide(product[0] + sum + far);
    results[1] = divide(difference + 2 * apart);
    results[2] = divide(sum + 4 * far);
    results[3] = divide(difference + 8 * apart + product[5]);
  }
};

inline bool is_filter(CodeFormat format) { return format == CodeFormat::pairs || format == CodeFormat::quads; }

inline CodeFormat filter_format(bool exact) { return exact ? CodeFormat::pairs : CodeFormat::quads; }

inline int filter_largest_weight(int largest_code, int64_t products, CodeFormat format) {
  // Weights are sums of three, and sums twice what they stand for.
  if (format == CodeFormat::pairs) return weight_limit(32767 / 3, largest_code, 2 * products);
  // Weights are up to 24 times what they stand for, and each meets up to five codes: for a third of the products.
  return weight_limit(32767 / 24, largest_code, 24 * 5 * products / 3);
}

inline int64_t filter_steps(int64_t elements, CodeFormat format) {
  return elements / 3 * (format == CodeFormat::pairs ? Pairs::kProducts : Quads::kProducts);
}

// (kBlock, segments, 3 taps, channels) to (kBlock, products, segments, channels).
template <class Filter>
void weights_of_products(const int16_t* folded, int segments, int64_t channels, int16_t* weights) {
  constexpr int kProducts = Filter::kProducts;
  const int64_t position = segments * channels;
  for (int64_t output = 0; output < kBlock; ++output) {
    for (int segment = 0; segment < segments; ++segment) {
      const int16_t* taps = folded + (output * segments + segment) * 3 * channels;
      int16_t* target = weights + output * kProducts * position + segment * channels;
      for (int64_t c = 0; c < channels; ++c) {
        int whole[kProducts];
        Filter::weights_of(taps[c], taps[channels + c], taps[2 * channels + c], whole);
        for (int p = 0; p < kProducts; ++p) target[p * position + c] = static_cast<int16_t>(whole[p]);
      }
    }
  }
}

// The same by name of the format.
inline void filter_weights(const int16_t* folded, int segments, int64_t elements, CodeFormat format, int16_t* weights) {
  auto* weights_of = format == CodeFormat::pairs ? weights_of_products<Pairs> : weights_of_products<Quads>;
  weights_of(folded, segments, elements / 3, weights);
}

constexpr int64_t kGathered = 2048;  // codes that belong to the same output, laid side by side, at most

// What a few pixels' products are of: of each product and group of `Filter::kSize` outputs, the factors at all positions
// (segment, channel), or at some of them. The pixels share the weights they fetch.
template <class Filter, int kPixels>
struct Factors {
  static constexpr int kGroups = kPixels / Filter::kSize;
  static constexpr int64_t kPiece = kGathered / Filter::kProducts / 8 * 8;  // positions
  static constexpr int64_t kRow = kPiece + 32;  // not a power of two: rows must not share cache sets
  alignas(64) int16_t of[Filter::kProducts][kGroups][kRow];

  void gather(const Accumulation& a, int64_t x, int groups, int64_t start, int64_t length) {
    const int64_t channels = a.steps / Filter::kProducts;
    for (int64_t done = 0; done < length;) {
      const int64_t segment = (start + done) / channels, channel = (start + done) % channels;
      const int64_t run = smaller(channels - channel, length - done);
      for (int g = 0; g < groups; ++g) {
        const uint8_t* pixel = a.codes[segment] + (x + Filter::kSize * g) * a.advance;
        int16_t* targets[Filter::kProducts];
        for (int p = 0; p < Filter::kProducts; ++p) targets[p] = of[p][g] + done;
        const auto* codes = reinterpret_cast<const int16_t*>(pixel) + channel;
        for (int64_t c = 0; c < run; ++c) Filter::factors_of(codes, channels, c, targets);
      }
      done += run;
    }
  }
};

// Calls `piece(factors, groups, start, length)` for all positions of `pixels`, at most kPixels, a piece of them at a time.
template <class Filter, int kPixels, class Piece>
inline void for_pieces(const Accumulation& a, int64_t x, int pixels, Piece piece) {
  Factors<Filter, kPixels> factors;
  const int64_t positions = a.segments * a.steps / Filter::kProducts;
  const int groups = (pixels + Filter::kSize - 1) / Filter::kSize;
  for (int64_t start = 0; start < positions; start += factors.kPiece) {
    const int64_t length = smaller(factors.kPiece, positions - start);
    factors.gather(a, x, groups, start, length);
    piece(factors, groups, start, length);
  }
}

// Calls `group` for kPixels at a time; it adds to their sums.
template <int kPixels, class Group>
void accumulate_groups(Group group, const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  std::memset(sums, 0, static_cast<size_t>(pixels * stride) * sizeof(int32_t));
  for (int p = 0; p < pixels; p += kPixels) {
    group(a, x + p, static_cast<int>(smaller(kPixels, pixels - p)), first_block, count, sums + p * stride);
  }
}

}  // namespace
}  // namespace daq
