// What every tier does alike, compiled once with each tier's instruction set. Included by tier_*.cc, which add the integer
// sums of products (`accumulate`) and how weights are packed for them.

#pragma once

#include "tier_finish.h"
#include "tier_pack.h"
#include "tier_feedback.h"
#include "tier_quantize.h"

namespace daq {
namespace {  // one copy a tier

inline void leave_nothing() {}

constexpr int kLargestSum = 2147483647;

inline int weight_limit(int format_limit, int largest_code, int64_t products) {
  return static_cast<int>(smaller(format_limit, kLargestSum / (products * largest_code)));
}

}  // namespace
}  // namespace daq
