// Plain C++: 16-bit codes and weights, dot products that compilers turn into what the processor has.

#include "tier.h"

namespace daq {
namespace {

CodeFormat format(int, bool) { return CodeFormat::rows; }

int largest_shifted_code(int largest_code, CodeFormat) { return largest_code; }

int largest_weight(int largest_code, int64_t products, CodeFormat) { return weight_limit(32767, largest_code, products); }

int64_t steps(int64_t elements, CodeFormat) { return elements; }

// Two pixels by four output channels: eight sums share what they load.
template <int kPixels>
void dot(const int16_t* const* codes, const int16_t* const* weights, int64_t count, int32_t sums[kPixels][4]) {
  int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  const int16_t* __restrict a = codes[0];
  const int16_t* __restrict b = codes[kPixels - 1];
  const int16_t* __restrict w0 = weights[0];
  const int16_t* __restrict w1 = weights[1];
  const int16_t* __restrict w2 = weights[2];
  const int16_t* __restrict w3 = weights[3];
  for (int64_t i = 0; i < count; ++i) {
    a0 += a[i] * w0[i];
    a1 += a[i] * w1[i];
    a2 += a[i] * w2[i];
    a3 += a[i] * w3[i];
    if (kPixels == 2) {
      b0 += b[i] * w0[i];
      b1 += b[i] * w1[i];
      b2 += b[i] * w2[i];
      b3 += b[i] * w3[i];
    }
  }
  const int32_t first[4] = {a0, a1, a2, a3}, second[4] = {b0, b1, b2, b3};
  for (int o = 0; o < 4; ++o) {
    sums[0][o] += first[o];
    if (kPixels == 2) sums[kPixels - 1][o] += second[o];
  }
}

template <int kPixels>
void tile(const Accumulation& a, int64_t x, int block, int32_t* sums, int64_t stride) {
  const int64_t per_output = a.segments * a.steps;
  const auto* weights = static_cast<const int16_t*>(a.weights) + block * kBlock * per_output;
  for (int output = 0; output < kBlock; output += 4) {
    int32_t results[kPixels][4] = {};
    for (int segment = 0; segment < a.segments; ++segment) {
      const int16_t* codes[kPixels];
      const int16_t* rows[4];
      for (int p = 0; p < kPixels; ++p) {
        codes[p] = reinterpret_cast<const int16_t*>(a.codes[segment] + (x + p) * a.advance);
      }
      for (int o = 0; o < 4; ++o) rows[o] = weights + (output + o) * per_output + segment * a.steps;
      dot<kPixels>(codes, rows, a.steps, results);
    }
    for (int p = 0; p < kPixels; ++p) std::memcpy(sums + p * stride + output, results[p], sizeof(results[p]));
  }
}

void accumulate(const Accumulation& a, CodeFormat, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int block = 0; block < count; ++block) {
    int p = 0;
    for (; p + 2 <= pixels; p += 2) tile<2>(a, x + p, first_block + block, sums + p * stride + block * kBlock, stride);
    if (p < pixels) tile<1>(a, x + p, first_block + block, sums + p * stride + block * kBlock, stride);
  }
}

}  // namespace

extern const Kernels kPortableKernels = {
    Isa::portable, 24,   format, largest_shifted_code, largest_weight, steps, quantize, largest_product, fold, pack,
    accumulate, leave_nothing, finish, finish_float,         accumulate_float, planar_statistics,
};

}  // namespace daq
