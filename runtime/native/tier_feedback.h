// Half-precision pixels to codes where values make good what those rounded before them lost. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"
#include "tier_quantize.h"

namespace daq {
namespace {  // one copy a tier

static_assert(kFeedbackGroup * 2 == kLanes, "two groups of a pixel, or one of two pixels, fill the lanes");

// The channels of a group.
#if defined(__AVX2__)
using Group = __m256;
inline Group group_load(const float* p) { return _mm256_loadu_ps(p); }
inline Group group_of(float x) { return _mm256_set1_ps(x); }
inline Group group_fma(Group a, Group b, Group c) { return _mm256_fmadd_ps(a, b, c); }
#if defined(__AVX512F__)
inline Lanes lanes_of(Group first, Group second) {
  return {{_mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1)}};
}
inline Group first_group(const Lanes& a) { return _mm512_castps512_ps256(a.part[0]); }
inline Group second_group(const Lanes& a) { return _mm512_extractf32x8_ps(a.part[0], 1); }
#else
inline Lanes lanes_of(Group first, Group second) { return {{first, second}}; }
inline Group first_group(const Lanes& a) { return a.part[0]; }
inline Group second_group(const Lanes& a) { return a.part[1]; }
#endif
inline Group group_load_half(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
#else
struct Group {
  Part low, high;
};
inline Group group_load(const float* p) { return {part_load(p), part_load(p + 4)}; }
inline Group group_of(float x) { return {part_set(x), part_set(x)}; }
inline Group group_fma(const Group& a, const Group& b, const Group& c) {
  return {part_fma(a.low, b.low, c.low), part_fma(a.high, b.high, c.high)};
}
inline Lanes lanes_of(const Group& first, const Group& second) {
  return {{first.low, first.high, second.low, second.high}};
}
inline Group first_group(const Lanes& a) { return {a.part[0], a.part[1]}; }
inline Group second_group(const Lanes& a) { return {a.part[2], a.part[3]}; }
inline Group group_load_half(const uint16_t* p) { return {part_load_half(p), part_load_half(p + 4)}; }
#endif

// What is added to the values of one group, or of two.
inline void row_load(const float* p, Group& row) { row = group_load(p); }
inline void row_load(const float* p, Lanes& row) { row = lanes_load(p); }
inline void set_zero(Group& sum) { sum = group_of(0.0f); }
inline void set_zero(Lanes& sum) { sum = lanes_set(0.0f); }
inline Group row_fma(Group row, float x, Group sum) { return group_fma(row, group_of(x), sum); }
inline Lanes row_fma(const Lanes& row, float x, const Lanes& sum) { return lanes_fma(row, lanes_set(x), sum); }

// Adds what errors of so many groups, in the order of rounding, ask of a group or of two; a row of coefficients a channel.
// Errors are (groups, pixels, channels of a group).
template <class Sum>
inline const float* add_feedback(const float* coefficients, const float* errors, int64_t groups, Sum (&sums)[kFeedbackPixels]) {
  constexpr int64_t kRow = sizeof(Sum) / sizeof(float);
  constexpr int kTogether = kParts == 1 ? kFeedbackPixels : 64 / kRow;  // pixels whose sums fit the registers
  for (int first = 0; first < kFeedbackPixels; first += kTogether) {
    Sum held[kTogether];
    for (int p = 0; p < kTogether; ++p) held[p] = sums[first + p];
    const float* row = coefficients;
    for (int64_t group = 0; group < groups; ++group) {
      const float* of_group = errors + (group * kFeedbackPixels + first) * kFeedbackGroup;
      for (int channel = 0; channel < kFeedbackGroup; ++channel, row += kRow) {
        Sum column;
        row_load(row, column);
        for (int p = 0; p < kTogether; ++p) held[p] = row_fma(column, of_group[p * kFeedbackGroup + channel], held[p]);
      }
    }
    for (int p = 0; p < kTogether; ++p) sums[first + p] = held[p];
  }
  return coefficients + groups * kFeedbackGroup * kRow;
}

// Rounds a group, the step-th, whose values are moved by what `sum_of` says of two pixels.
template <bool kCompanded, bool kWords, class SumOf>
inline void round_group(const FeedbackQuantizer& quantizer, int64_t step, SumOf sum_of, const uint16_t* pixels, int64_t stride,
                        float* errors, uint8_t* codes, int64_t code_stride) {
  constexpr int kSize = kWords ? 2 : 1;
  const int64_t first = quantizer.first_channel[step], constants = step * kLanes;
  const Lanes lo = lanes_load(quantizer.lo + constants), inverse_step = lanes_load(quantizer.inverse_step + constants);
  const Lanes highest = lanes_load(quantizer.highest + constants), shift = lanes_load(quantizer.shift + constants);
  const Lanes origin = lanes_load(quantizer.origin + constants);
  for (int p = 0; p < kFeedbackPixels; p += 2 * kInStep) {
    LanesOf<kInStep * kParts> values, sums;
#pragma GCC unroll 8
    for (int i = 0; i < kInStep; ++i) {
      const uint16_t* source = pixels + (p + 2 * i) * stride + first;
      lanes_put(values, i, lanes_of(group_load_half(source), group_load_half(source + stride)));
      lanes_put(sums, i, sum_of(p + 2 * i));
    }
    const auto moved = (values - lo) * inverse_step + sums;
    const auto held = lanes_min(lanes_max(moved, lanes_set(0.0f)), highest);  // NaN goes to zero, as in QuantizeLinear
    auto level = lanes_round(held);
    if constexpr (kCompanded) level = lanes_where_negative(origin, level, companded_level(held, origin));
    const auto error = level - moved, code = level * shift;
#pragma GCC unroll 8
    for (int i = 0; i < kInStep; ++i) {
      const int pixel = p + 2 * i;
      lanes_store(errors + (step * kFeedbackPixels + pixel) * kFeedbackGroup, lanes_at(error, i));
      uint8_t whole[kLanes * kSize];
      if constexpr (kWords) {
        int16_t words[kLanes];
        lanes_store_words(words, lanes_at(code, i));
        std::memcpy(whole, words, sizeof(words));
      } else {
        lanes_store_bytes(whole, lanes_at(code, i));
      }
      std::memcpy(codes + pixel * code_stride + first * kSize, whole, sizeof(whole) / 2);
      std::memcpy(codes + (pixel + 1) * code_stride + first * kSize, whole + kFeedbackGroup * kSize, sizeof(whole) / 2);
    }
  }
}

template <bool kCompanded, bool kWords>
void quantize_groups_as(const FeedbackQuantizer& quantizer, const uint16_t* pixels, int64_t stride, const float* left,
                        float* errors, uint8_t* codes, int64_t code_stride) {
  const int64_t steps = quantizer.channels / kFeedbackGroup, left_steps = quantizer.left_channels / kFeedbackGroup;
  const float* coefficients = quantizer.coefficients;
  const auto add_known = [&](int64_t step, auto& sums) {
    for (auto& sum : sums) set_zero(sum);
    const int64_t row = static_cast<int64_t>(sizeof(sums[0]) / sizeof(float));
    if (left != nullptr) add_feedback(coefficients, left, left_steps, sums);
    coefficients = add_feedback(coefficients + left_steps * kFeedbackGroup * row, errors, step, sums);
  };
  const auto round = [&](int64_t step, auto sum_of) {
    round_group<kCompanded, kWords>(quantizer, step, sum_of, pixels, stride, errors, codes, code_stride);
  };
  int64_t step = steps % 2;
  if (step == 1) {
    Group alone[kFeedbackPixels];
    add_known(0, alone);
    round(0, [&](int p) { return lanes_of(alone[p], alone[p + 1]); });
  }
  for (; step < steps; step += 2) {
    Lanes both[kFeedbackPixels];
    add_known(step, both);
    round(step, [&](int p) { return lanes_of(first_group(both[p]), first_group(both[p + 1])); });
    Group second[kFeedbackPixels];
    for (int p = 0; p < kFeedbackPixels; ++p) second[p] = second_group(both[p]);
    coefficients = add_feedback(coefficients, errors + step * kFeedbackPixels * kFeedbackGroup, 1, second);
    round(step + 1, [&](int p) { return lanes_of(second[p], second[p + 1]); });
  }
}

void quantize_groups(const FeedbackQuantizer& quantizer, const uint16_t* pixels, int64_t stride, CodeFormat format,
                     const float* left, float* errors, uint8_t* codes, int64_t code_stride) {
  auto* run = is_words(format)
                  ? (quantizer.companded ? quantize_groups_as<true, true> : quantize_groups_as<false, true>)
                  : (quantizer.companded ? quantize_groups_as<true, false> : quantize_groups_as<false, false>);
  run(quantizer, pixels, stride, left, errors, codes, code_stride);
}

}  // namespace
}  // namespace daq
