// Plain C++: 16-bit codes and weights, dot products that compilers turn into what the processor has.

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

  static void results_of(const uint32_t (&product)[kProducts], int32_t (&results)[kSize]) {
    results[0] = static_cast<int32_t>(product[0] + product[1] + product[2]) / 2;
    results[1] = static_cast<int32_t>(product[1] - product[2] - product[3]) / 2;
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
  static void results_of(const uint32_t (&product)[kProducts], int32_t (&results)[kSize]) {
    const uint32_t sum = product[1] + product[2], difference = product[1] - product[2];
    const uint32_t far = product[3] + product[4], apart = product[3] - product[4];
    results[0] = static_cast<int32_t>(product[0] + sum + far) / 24;
    results[1] = static_cast<int32_t>(difference + 2 * apart) / 24;
    results[2] = static_cast<int32_t>(sum + 4 * far) / 24;
    results[3] = static_cast<int32_t>(difference + 8 * apart + product[5]) / 24;
  }
};

CodeFormat format(int, bool exact, int64_t neighbours) {
  if (neighbours != 3) return CodeFormat::rows;
  return exact ? CodeFormat::pairs : CodeFormat::quads;
}

int largest_shifted_code(int largest_code, CodeFormat) { return largest_code; }

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  switch (format) {
    // Weights are sums of three, and sums twice what they stand for.
    case CodeFormat::pairs: return weight_limit(32767 / 3, largest_code, 2 * products);
    // Weights are up to 24 times what they stand for, and each meets up to five codes: for a third of the products.
    case CodeFormat::quads: return weight_limit(32767 / 24, largest_code, 24 * 5 * products / 3);
    default: return weight_limit(32767, largest_code, products);
  }
}

int64_t steps(int64_t elements, CodeFormat format) {
  switch (format) {
    case CodeFormat::pairs: return elements / 3 * Pairs::kProducts;
    case CodeFormat::quads: return elements / 3 * Quads::kProducts;
    default: return elements;
  }
}

// (kBlock, segments, 3 taps, channels) to (kBlock, products, segments, channels).
template <class Filter>
void pack_neighbours(const int16_t* folded, int segments, int64_t channels, int16_t* packed) {
  constexpr int kProducts = Filter::kProducts;
  const int64_t position = segments * channels;
  for (int64_t output = 0; output < kBlock; ++output) {
    for (int segment = 0; segment < segments; ++segment) {
      const int16_t* taps = folded + (output * segments + segment) * 3 * channels;
      int16_t* target = packed + output * kProducts * position + segment * channels;
      for (int64_t c = 0; c < channels; ++c) {
        int weights[kProducts];
        Filter::weights_of(taps[c], taps[channels + c], taps[2 * channels + c], weights);
        for (int p = 0; p < kProducts; ++p) target[p * position + c] = static_cast<int16_t>(weights[p]);
      }
    }
  }
}

void pack_by_output(const int16_t* folded, int segments, int64_t elements, int64_t steps, CodeFormat format, void* packed) {
  auto* words = static_cast<int16_t*>(packed);
  switch (format) {
    case CodeFormat::pairs: return pack_neighbours<Pairs>(folded, segments, elements / 3, words);
    case CodeFormat::quads: return pack_neighbours<Quads>(folded, segments, elements / 3, words);
    default: return pack(folded, segments, elements, steps, format, packed);
  }
}

constexpr int64_t kGathered = 2048;  // codes of a pixel that are laid side by side, at most
constexpr int kTogether = 16;        // pixels that share the weights they fetch
constexpr int kPixels = 4;           // rows of codes, and
constexpr int kOutputs = 2;          // output channels whose sums share what they load

using Sums = int32_t[kPixels][kOutputs];

// The products of `pixels` rows of codes, at most kPixels, with the weights of kOutputs channels.
void dot(const int16_t* codes, int64_t code_stride, int pixels, const int16_t* weights, int64_t weight_stride, int64_t count,
         Sums& sums) {
  const auto row = [&](int pixel) { return codes + (pixel < pixels ? pixel : 0) * code_stride; };
  const int16_t* __restrict c0 = row(0);
  const int16_t* __restrict c1 = row(1);
  const int16_t* __restrict c2 = row(2);
  const int16_t* __restrict c3 = row(3);
  const int16_t* __restrict w0 = weights;
  const int16_t* __restrict w1 = weights + weight_stride;
  int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  for (int64_t i = 0; i < count; ++i) {
    a0 += c0[i] * w0[i];
    a1 += c1[i] * w0[i];
    a2 += c2[i] * w0[i];
    a3 += c3[i] * w0[i];
    b0 += c0[i] * w1[i];
    b1 += c1[i] * w1[i];
    b2 += c2[i] * w1[i];
    b3 += c3[i] * w1[i];
  }
  sums[0][0] = a0;
  sums[0][1] = b0;
  sums[1][0] = a1;
  sums[1][1] = b1;
  sums[2][0] = a2;
  sums[2][1] = b2;
  sums[3][0] = a3;
  sums[3][1] = b3;
}

// A few pixels, all blocks. What the segments hold is laid side by side first, so that sums are reduced seldom, and the
// weights of two channels serve all the pixels before the next are fetched.
void group(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  constexpr int64_t kRow = kGathered + 32;  // not a power of two: rows must not share cache sets
  alignas(64) int16_t gathered[kTogether][kRow];
  const int64_t per_output = a.segments * a.steps, stride = static_cast<int64_t>(count) * kBlock;
  for (int64_t start = 0; start < per_output; start += kGathered) {
    const int64_t length = smaller(kGathered, per_output - start);
    for (int64_t done = 0; done < length;) {
      const int64_t segment = (start + done) / a.steps, offset = (start + done) % a.steps;
      const int64_t run = smaller(a.steps - offset, length - done);
      for (int p = 0; p < pixels; ++p) {
        const uint8_t* codes = a.codes[segment] + (x + p) * a.advance + offset * 2;
        std::memcpy(gathered[p] + done, codes, static_cast<size_t>(run) * sizeof(int16_t));
      }
      done += run;
    }
    for (int64_t channel = 0; channel < stride; channel += kOutputs) {
      const int64_t output = first_block * kBlock + channel;
      if (a.valid[output] == 0.0f) continue;  // padding
      const auto* weights = static_cast<const int16_t*>(a.weights) + output * per_output + start;
      for (int p = 0; p < pixels; p += kPixels) {
        const int together = static_cast<int>(smaller(kPixels, pixels - p));
        Sums products;
        dot(gathered[p], kRow, together, weights, per_output, length, products);
        for (int i = 0; i < together; ++i) {
          for (int o = 0; o < kOutputs; ++o) sums[(p + i) * stride + channel + o] += products[i][o];
        }
      }
    }
  }
}

// A few pixels, all blocks, `Filter::kSize` neighbours at a time by Winograd's minimal filtering.
template <class Filter>
void neighbours(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  constexpr int kSize = Filter::kSize, kProducts = Filter::kProducts;
  constexpr int64_t kPiece = kGathered / kProducts / 8 * 8, kRow = kPiece + 32;
  alignas(64) int16_t factors[kProducts][kTogether / kSize][kRow];
  const int64_t channels = a.steps / kProducts, position = a.segments * channels, per_output = kProducts * position;
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  const int groups = (pixels + kSize - 1) / kSize;
  for (int64_t start = 0; start < position; start += kPiece) {
    const int64_t length = smaller(kPiece, position - start);
    for (int64_t done = 0; done < length;) {
      const int64_t segment = (start + done) / channels, channel = (start + done) % channels;
      const int64_t run = smaller(channels - channel, length - done);
      for (int g = 0; g < groups; ++g) {
        const auto* codes = reinterpret_cast<const int16_t*>(a.codes[segment] + (x + kSize * g) * a.advance) + channel;
        int16_t* targets[kProducts];
        for (int p = 0; p < kProducts; ++p) targets[p] = factors[p][g] + done;
        for (int64_t c = 0; c < run; ++c) Filter::factors_of(codes, channels, c, targets);
      }
      done += run;
    }
    for (int64_t channel = 0; channel < stride; channel += kOutputs) {
      const int64_t output = first_block * kBlock + channel;
      if (a.valid[output] == 0.0f) continue;  // padding
      const auto* weights = static_cast<const int16_t*>(a.weights) + output * per_output + start;
      for (int g = 0; g < groups; g += kPixels) {
        const int together = static_cast<int>(smaller(kPixels, groups - g));
        Sums products[kProducts];
        for (int p = 0; p < kProducts; ++p) {
          dot(factors[p][g], kRow, together, weights + p * position, per_output, length, products[p]);
        }
        for (int i = 0; i < together; ++i) {
          const int first = kSize * (g + i), valid = static_cast<int>(smaller(kSize, pixels - first));
          for (int o = 0; o < kOutputs; ++o) {
            uint32_t product[kProducts];
            for (int p = 0; p < kProducts; ++p) product[p] = static_cast<uint32_t>(products[p][i][o]);
            int32_t results[kSize];
            Filter::results_of(product, results);
            for (int r = 0; r < valid; ++r) sums[(first + r) * stride + channel + o] += results[r];
          }
        }
      }
    }
  }
}

void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  auto* tile = format == CodeFormat::quads ? neighbours<Quads> : format == CodeFormat::pairs ? neighbours<Pairs> : group;
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  std::memset(sums, 0, static_cast<size_t>(pixels * stride) * sizeof(int32_t));
  for (int p = 0; p < pixels; p += kTogether) {
    tile(a, x + p, static_cast<int>(smaller(kTogether, pixels - p)), first_block, count, sums + p * stride);
  }
}

}  // namespace

extern const Kernels kPortableKernels = {
    Isa::portable, 48, format, largest_shifted_code, largest_weight, steps, quantize, pair, largest_product, fold,
    pack_by_output, accumulate, leave_nothing, finish, finish_float, accumulate_float, planar_statistics,
};

}  // namespace daq
