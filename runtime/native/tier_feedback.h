// Half-precision pixels to codes where values make good what those rounded before them lost. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"
#include "tier_quantize.h"

namespace daq {
namespace {  // one copy a tier

static_assert(kFeedbackGroup * 2 == kLanes, "a group of two pixels fills the lanes");

// The channels of a group; those of two pixels fill the lanes. Nothing is put together by way of memory: what is stored in two
// pieces is slow to load as one.
#if defined(__AVX2__)
using Group = __m256;
inline Group group_load(const float* p) { return _mm256_loadu_ps(p); }
inline void group_store(float* p, Group a) { _mm256_storeu_ps(p, a); }
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
inline void group_store(float* p, const Group& a) {
  part_store(p, a.low);
  part_store(p + 4, a.high);
}
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

// Adds what errors of so many channels, in the order of rounding, ask of a group; a row of coefficients a channel.
inline void add_feedback(const float* coefficients, const float* errors, int64_t channels, int64_t count,
                         Group (&sums)[kFeedbackPixels]) {
  for (int64_t k = 0; k < count; ++k) {
    const Group column = group_load(coefficients + k * kFeedbackGroup);
    for (int p = 0; p < kFeedbackPixels; ++p) sums[p] = group_fma(column, group_of(errors[p * channels + k]), sums[p]);
  }
}

// The same for two groups.
inline void add_feedback_to_two(const float* first, const float* second, const float* errors, int64_t channels, int64_t count,
                                Group (&sums)[2][kFeedbackPixels]) {
#if defined(__AVX512F__)
  __m512 both[kFeedbackPixels];
  for (int p = 0; p < kFeedbackPixels; ++p) both[p] = lanes_of(sums[0][p], sums[1][p]).part[0];
  for (int64_t k = 0; k < count; ++k) {
    const __m512 column = lanes_of(group_load(first + k * kFeedbackGroup), group_load(second + k * kFeedbackGroup)).part[0];
    for (int p = 0; p < kFeedbackPixels; ++p) {
      both[p] = _mm512_fmadd_ps(column, _mm512_set1_ps(errors[p * channels + k]), both[p]);
    }
  }
  for (int p = 0; p < kFeedbackPixels; ++p) {
    sums[0][p] = first_group({{both[p]}});
    sums[1][p] = second_group({{both[p]}});
  }
#else
  add_feedback(first, errors, channels, count, sums[0]);
  add_feedback(second, errors, channels, count, sums[1]);
#endif
}

// Rounds a group, the step-th, whose values are moved by `sums`.
template <bool kCompanded, bool kWords>
inline void round_group(const FeedbackQuantizer& quantizer, int64_t step, const Group (&sums)[kFeedbackPixels],
                        const uint16_t* pixels, int64_t stride, float* errors, uint8_t* codes, int64_t code_stride) {
  constexpr int kSize = kWords ? 2 : 1;
  const int64_t channels = quantizer.channels, before = step * kFeedbackGroup;
  const int64_t first = quantizer.first_channel[step], constants = step * kLanes;
  const Lanes lo = lanes_load(quantizer.lo + constants), inverse_step = lanes_load(quantizer.inverse_step + constants);
  const Lanes highest = lanes_load(quantizer.highest + constants), shift = lanes_load(quantizer.shift + constants);
  const Lanes origin = lanes_load(quantizer.origin + constants);
  for (int p = 0; p < kFeedbackPixels; p += 2) {
    const uint16_t* source = pixels + p * stride + first;
    const Lanes values = lanes_of(group_load_half(source), group_load_half(source + stride));
    const Lanes moved = (values - lo) * inverse_step + lanes_of(sums[p], sums[p + 1]);
    Lanes level = lanes_min(lanes_max(moved, lanes_set(0.0f)), highest);  // NaN goes to zero, as in QuantizeLinear
    if constexpr (kCompanded) level = nearest_level(level, origin);
    level = lanes_round(level);
    const Lanes lost = level - moved;
    group_store(errors + p * channels + before, first_group(lost));
    group_store(errors + (p + 1) * channels + before, second_group(lost));
    uint8_t whole[kLanes * kSize];
    if constexpr (kWords) {
      int16_t words[kLanes];
      lanes_store_words(words, level * shift);
      std::memcpy(whole, words, sizeof(words));
    } else {
      lanes_store_bytes(whole, level * shift);
    }
    std::memcpy(codes + p * code_stride + first * kSize, whole, sizeof(whole) / 2);
    std::memcpy(codes + (p + 1) * code_stride + first * kSize, whole + kFeedbackGroup * kSize, sizeof(whole) / 2);
  }
}

template <bool kCompanded, bool kWords>
void quantize_groups_as(const FeedbackQuantizer& quantizer, const uint16_t* pixels, int64_t stride, const float* left,
                        float* errors, uint8_t* codes, int64_t code_stride) {
  const int64_t channels = quantizer.channels, steps = channels / kFeedbackGroup, known = quantizer.left_channels;
  const float* coefficients = quantizer.coefficients;
  Group sums[2][kFeedbackPixels];
  const auto round = [&](int64_t step) {
    round_group<kCompanded, kWords>(quantizer, step, sums[step % 2], pixels, stride, errors, codes, code_stride);
  };
  for (int64_t step = 0; step < steps; step += 2) {
    const int64_t before = step * kFeedbackGroup;
    for (auto& of_group : sums) {
      for (Group& sum : of_group) sum = group_of(0.0f);
    }
    const float* own = coefficients + known * kFeedbackGroup;
    if (step + 1 == steps) {
      if (left != nullptr) add_feedback(coefficients, left, channels, known, sums[0]);
      add_feedback(own, errors, channels, before, sums[0]);
      round(step);
      return;
    }
    const float* second = own + before * kFeedbackGroup;
    const float* own_of_second = second + known * kFeedbackGroup;
    if (left != nullptr) add_feedback_to_two(coefficients, second, left, channels, known, sums);
    add_feedback_to_two(own, own_of_second, errors, channels, before, sums);
    round(step);
    add_feedback(own_of_second + before * kFeedbackGroup, errors + before, channels, kFeedbackGroup, sums[1]);
    round(step + 1);
    coefficients = own_of_second + (before + kFeedbackGroup) * kFeedbackGroup;
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
