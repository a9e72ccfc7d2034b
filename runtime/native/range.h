// Range rules: from the statistics of channels to their lowest level, their step and, of companded levels, their origin. The oracle is daq_deploy/numerics/ranges.py.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace daq {

enum class RangeRule { paper, reference, deploy };

RangeRule range_rule_of(const std::string& name);  // throws std::invalid_argument

struct RangeParameters {
  RangeRule rule;
  bool is_signed;
  int range_bits;            // 0: spreads are not quantized
  std::vector<int> bits;     // of each channel
  std::vector<double> tail;  // of each channel; deploy only
  bool companded;            // deploy only
};

// Statistics of one channel, as in statistics.h.
struct ChannelStatistics {
  double count, positives, total, total_squares, minimum, maximum;
};

// Writes lo, step and, where levels are companded, the origin of every channel.
void channel_ranges(const RangeParameters& parameters, const std::vector<ChannelStatistics>& statistics, float* lo,
                    float* step, float* origin);

}  // namespace daq
