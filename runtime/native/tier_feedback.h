// Half-precision pixels to codes where channels make good what those rounded before them lost. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"
#include "tier_quantize.h"

namespace daq {
namespace {  // one copy a tier

static_assert(kFeedbackGroup * 2 == kLanes, "a group of two pixels fills the lanes");

// The channels of a group.
#if defined(__AVX2__)
struct Group {
  __m256 value;
};
inline Group group_load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void group_store(float* p, const Group& a) { _mm256_storeu_ps(p, a.value); }
inline void group_add_product(Group& sum, const Group& a, float b) {
  sum.value = _mm256_fmadd_ps(a.value, _mm256_set1_ps(b), sum.value);
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
inline void group_add_product(Group& sum, const Group& a, float b) {
  sum.low += a.low * part_set(b);
  sum.high += a.high * part_set(b);
}
#endif

template <bool kCompanded, bool kWords>
void quantize_groups_as(const FeedbackQuantizer& quantizer, const uint16_t* pixels, float* errors, uint8_t* codes) {
  constexpr int kSize = kWords ? 2 : 1;
  const int64_t stride = quantizer.channels;
  const float* coefficients = quantizer.coefficients;
  for (int64_t step = 0; step < quantizer.channels / kFeedbackGroup; ++step) {
    const int64_t before = step * kFeedbackGroup, first = quantizer.first_channel[step], constants = step * kLanes;
    Group sums[kFeedbackPixels];
    const float nothing[kFeedbackGroup] = {};
    for (Group& sum : sums) sum = group_load(nothing);
    for (int64_t k = 0; k < before; ++k, coefficients += kFeedbackGroup) {
      const Group column = group_load(coefficients);
      for (int p = 0; p < kFeedbackPixels; ++p) group_add_product(sums[p], column, errors[p * stride + k]);
    }
    const Lanes lo = lanes_load(quantizer.lo + constants), inverse_step = lanes_load(quantizer.inverse_step + constants);
    const Lanes highest = lanes_load(quantizer.highest + constants), shift = lanes_load(quantizer.shift + constants);
    const Lanes origin = lanes_load(quantizer.origin + constants);
    for (int p = 0; p < kFeedbackPixels; p += 2) {
      uint16_t halves[kLanes];
      float moves[kLanes], lost[kLanes];
      std::memcpy(halves, pixels + p * stride + first, sizeof(halves) / 2);
      std::memcpy(halves + kFeedbackGroup, pixels + (p + 1) * stride + first, sizeof(halves) / 2);
      group_store(moves, sums[p]);
      group_store(moves + kFeedbackGroup, sums[p + 1]);
      const Lanes moved = (lanes_load_half(halves) - lo) * inverse_step + lanes_load(moves);
      Lanes level = lanes_min(lanes_max(moved, lanes_set(0.0f)), highest);  // NaN goes to zero, as in QuantizeLinear
      if constexpr (kCompanded) level = nearest_level(level, origin);
      level = lanes_round(level);
      lanes_store(lost, level - moved);
      std::memcpy(errors + p * stride + before, lost, sizeof(lost) / 2);
      std::memcpy(errors + (p + 1) * stride + before, lost + kFeedbackGroup, sizeof(lost) / 2);
      uint8_t whole[kLanes * kSize];
      if constexpr (kWords) {
        int16_t words[kLanes];
        lanes_store_words(words, level * shift);
        std::memcpy(whole, words, sizeof(words));
      } else {
        lanes_store_bytes(whole, level * shift);
      }
      std::memcpy(codes + (p * stride + first) * kSize, whole, sizeof(whole) / 2);
      std::memcpy(codes + ((p + 1) * stride + first) * kSize, whole + kFeedbackGroup * kSize, sizeof(whole) / 2);
    }
  }
}

void quantize_groups(const FeedbackQuantizer& quantizer, const uint16_t* pixels, CodeFormat format, float* errors,
                     uint8_t* codes) {
  auto* run = is_words(format)
                  ? (quantizer.companded ? quantize_groups_as<true, true> : quantize_groups_as<false, true>)
                  : (quantizer.companded ? quantize_groups_as<true, false> : quantize_groups_as<false, false>);
  run(quantizer, pixels, errors, codes);
}

}  // namespace
}  // namespace daq
