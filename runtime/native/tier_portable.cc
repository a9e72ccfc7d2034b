// Plain C++: 16-bit codes and weights, dot products that compilers turn into what the processor has.

#include "tier.h"

namespace daq {
namespace {

CodeFormat format(int, bool) { return CodeFormat::rows; }

int largest_shifted_code(int largest_code, CodeFormat) { return largest_code; }

int largest_weight(int largest_code, int64_t products, CodeFormat) { return weight_limit(32767, largest_code, products); }

int64_t steps(int64_t elements, CodeFormat) { return elements; }

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
  const int32_t a[4] = {a0, a1, a2, a3}, b[4] = {b0, b1, b2, b3};
  for (int o = 0; o < 4; ++o) first_sums[o] += a[o];
  if (second_sums != nullptr) {
    for (int o = 0; o < 4; ++o) second_sums[o] += b[o];
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

void accumulate(const Accumulation& a, CodeFormat, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int p = 0; p < pixels; p += kTogether) {
    const int together = static_cast<int>(smaller(kTogether, pixels - p));
    group(a, x + p, together, first_block, count, sums + p * stride);
  }
}

}  // namespace

extern const Kernels kPortableKernels = {
    Isa::portable, 24,   format, largest_shifted_code, largest_weight, steps, quantize, largest_product, fold, pack,
    accumulate, leave_nothing, finish, finish_float,         accumulate_float, planar_statistics,
};

}  // namespace daq
