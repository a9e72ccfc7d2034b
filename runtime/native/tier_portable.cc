// Plain C++: 16-bit codes and weights, dot products that compilers turn into what the processor has.

#include "tier_filters.h"

namespace daq {
namespace {

CodeFormat format(int, bool exact, int64_t neighbours) { return neighbours == 3 ? filter_format(exact) : CodeFormat::rows; }

int largest_shifted_code(int largest_code, CodeFormat) { return largest_code; }

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  if (is_filter(format)) return filter_largest_weight(largest_code, products, format);
  return weight_limit(32767, largest_code, products);
}

int64_t steps(int64_t elements, CodeFormat format) { return is_filter(format) ? filter_steps(elements, format) : elements; }

void pack_by_output(const int16_t* folded, int segments, int64_t elements, int64_t steps, CodeFormat format, void* packed) {
  if (is_filter(format)) return filter_weights(folded, segments, elements, format, static_cast<int16_t*>(packed));
  pack(folded, segments, elements, steps, format, packed);
}

constexpr int kTogether = 16;  // pixels that share the weights they fetch
constexpr int kPixels = 4;     // rows of codes, and
constexpr int kOutputs = 2;    // output channels whose sums share what they load

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

// A few pixels, all blocks, `Filter::kSize` neighbours at a time.
template <class Filter>
void neighbours(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  constexpr int kSize = Filter::kSize, kProducts = Filter::kProducts;
  const int64_t position = a.segments * a.steps / kProducts, stride = static_cast<int64_t>(count) * kBlock;
  for_pieces<Filter, kTogether>(a, x, pixels, [&](const auto& factors, int groups, int64_t start, int64_t length) {
    for (int64_t channel = 0; channel < stride; channel += kOutputs) {
      const int64_t output = first_block * kBlock + channel;
      if (a.valid[output] == 0.0f) continue;  // padding
      const auto* weights = static_cast<const int16_t*>(a.weights) + output * kProducts * position + start;
      for (int g = 0; g < groups; g += kPixels) {
        const int together = static_cast<int>(smaller(kPixels, groups - g));
        Sums products[kProducts];
        for (int p = 0; p < kProducts; ++p) {
          dot(factors.of[p][g], factors.kRow, together, weights + p * position, kProducts * position, length, products[p]);
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
  });
}

void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  auto* some = format == CodeFormat::quads ? neighbours<Quads> : format == CodeFormat::pairs ? neighbours<Pairs> : group;
  accumulate_groups<kTogether>(some, a, x, pixels, first_block, count, sums);
}

}  // namespace

extern const Kernels kPortableKernels = {
    Isa::portable, kLargestChunk, kBlocksTogether, false, format, largest_shifted_code, largest_weight, steps, quantize,
    quantize_groups, pair, largest_product, fold, pack_by_output, accumulate, leave_nothing, kFinishedTogether, finish,
    finish_float, accumulate_float, planar_statistics,
};

}  // namespace daq
