// Plain C++: 16-bit codes and weights, dot products that compilers turn into what the processor has.

#include "tier.h"

namespace daq {
namespace {

CodeFormat format(int, bool, int64_t neighbours) { return neighbours == 3 ? CodeFormat::pairs : CodeFormat::rows; }

int largest_shifted_code(int largest_code, CodeFormat) { return largest_code; }

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  // Weights of `pairs` are sums of three, and its sums are twice what they stand for.
  return format == CodeFormat::pairs ? weight_limit(32767 / 3, largest_code, 2 * products)
                                     : weight_limit(32767, largest_code, products);
}

int64_t steps(int64_t elements, CodeFormat format) { return format == CodeFormat::pairs ? elements / 3 * 4 : elements; }

constexpr int64_t kGathered = 2048;  // codes of a pixel that are laid side by side, at most
constexpr int kTogether = 8;         // pixels that share the weights they fetch

// Two pixels by four output channels: eight sums share what they load. `second` is `first` where there is one pixel only.
void dot(const int16_t* __restrict first, const int16_t* __restrict second, const int16_t* __restrict weights,
         int64_t weight_stride, int64_t count, int32_t* first_sums, int32_t* second_sums) {
  const int16_t* __restrict w0 = weights;
  const int16_t* __restrict w1 = weights + weight_stride;
  const int16_t* __restrict w2 = weights + 2 * weight_stride;
  const int16_t* __restrict w3 = weights + 3 * weight_stride;
  int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  for (int64_t i = 0; i < count; ++i) {
    a0 += first[i] * w0[i];
    a1 += first[i] * w1[i];
    a2 += first[i] * w2[i];
    a3 += first[i] * w3[i];
    b0 += second[i] * w0[i];
    b1 += second[i] * w1[i];
    b2 += second[i] * w2[i];
    b3 += second[i] * w3[i];
  }
  first_sums[0] += a0;
  first_sums[1] += a1;
  first_sums[2] += a2;
  first_sums[3] += a3;
  if (second_sums != nullptr) {
    second_sums[0] += b0;
    second_sums[1] += b1;
    second_sums[2] += b2;
    second_sums[3] += b3;
  }
}

// A few pixels, all blocks. What the segments hold is laid side by side first, so that sums are reduced seldom, and the
// weights of four channels serve all the pixels before the next are fetched.
void group(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  alignas(64) int16_t gathered[kTogether][kGathered + 32];  // not a power of two apart: they must not share cache sets
  const int64_t per_output = a.segments * a.steps, stride = static_cast<int64_t>(count) * kBlock;
  std::memset(sums, 0, static_cast<size_t>(pixels * stride) * sizeof(int32_t));
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
    for (int64_t channel = 0; channel < stride; channel += 4) {
      const int64_t output = first_block * kBlock + channel;
      if (a.valid[output] == 0.0f) continue;  // padding
      const auto* weights = static_cast<const int16_t*>(a.weights) + output * per_output + start;
      for (int p = 0; p < pixels; p += 2) {
        const bool two = p + 1 < pixels;
        int32_t* target = sums + p * stride + channel;
        dot(gathered[p], gathered[two ? p + 1 : p], weights, per_output, length, target, two ? target + stride : nullptr);
      }
    }
  }
}

// Pairs of neighbouring pixels, all blocks: four pixels of codes give the factors of two outputs.
void pairs(const Accumulation& a, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  constexpr int64_t kPiece = kGathered / 4;
  alignas(64) int16_t factors[4][kTogether / 2][kPiece + 32];
  const int64_t channels = a.steps / 4, position = a.segments * channels, per_output = 4 * position;
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  const int pair_count = (pixels + 1) / 2;
  std::memset(sums, 0, static_cast<size_t>(pixels * stride) * sizeof(int32_t));
  for (int64_t start = 0; start < position; start += kPiece) {
    const int64_t length = smaller(kPiece, position - start);
    for (int64_t done = 0; done < length;) {
      const int64_t segment = (start + done) / channels, channel = (start + done) % channels;
      const int64_t run = smaller(channels - channel, length - done);
      for (int pair = 0; pair < pair_count; ++pair) {
        const auto* codes = reinterpret_cast<const int16_t*>(a.codes[segment] + (x + 2 * pair) * a.advance) + channel;
        for (int64_t c = 0; c < run; ++c) {
          const int first = codes[c], second = codes[channels + c], third = codes[2 * channels + c];
          const int fourth = codes[3 * channels + c];
          factors[0][pair][done + c] = static_cast<int16_t>(first - third);
          factors[1][pair][done + c] = static_cast<int16_t>(second + third);
          factors[2][pair][done + c] = static_cast<int16_t>(third - second);
          factors[3][pair][done + c] = static_cast<int16_t>(second - fourth);
        }
      }
      done += run;
    }
    for (int64_t channel = 0; channel < stride; channel += 4) {
      const int64_t output = first_block * kBlock + channel;
      if (a.valid[output] == 0.0f) continue;  // padding
      const auto* weights = static_cast<const int16_t*>(a.weights) + output * per_output + start;
      for (int pair = 0; pair < pair_count; pair += 2) {
        const int two = pair + 1 < pair_count ? 1 : 0;
        int32_t products[4][2][4] = {};
        for (int p = 0; p < 4; ++p) {
          dot(factors[p][pair], factors[p][pair + two], weights + p * position, per_output, length, products[p][0],
              two == 1 ? products[p][1] : nullptr);
        }
        for (int i = 0; i <= two; ++i) {
          int32_t* target = sums + 2 * (pair + i) * stride + channel;
          for (int o = 0; o < 4; ++o) {
            const int32_t middle = products[1][i][o], other = products[2][i][o];
            target[o] += (products[0][i][o] + middle + other) / 2;
            if (2 * (pair + i) + 1 < pixels) target[stride + o] += (middle - other - products[3][i][o]) / 2;
          }
        }
      }
    }
  }
}

void accumulate(const Accumulation& a, CodeFormat format, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int p = 0; p < pixels; p += kTogether) {
    const int together = static_cast<int>(smaller(kTogether, pixels - p));
    if (format == CodeFormat::pairs) {
      pairs(a, x + p, together, first_block, count, sums + p * stride);
    } else {
      group(a, x + p, together, first_block, count, sums + p * stride);
    }
  }
}

}  // namespace

extern const Kernels kPortableKernels = {
    Isa::portable, 24,   format, largest_shifted_code, largest_weight, steps, quantize, pair, largest_product, fold, pack,
    accumulate, leave_nothing, finish, finish_float,         accumulate_float, planar_statistics,
};

}  // namespace daq
