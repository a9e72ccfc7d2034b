// Companded levels: steps of three, four, five ... units away from an origin. The oracle is daq_deploy/numerics/companding.py.

#pragma once

#include <algorithm>
#include <cmath>

namespace daq {

constexpr int kMostCompandedBits = 4;  // channels that have more keep even levels
constexpr float kEvenLevels = -1.0f;   // stands for their origin
constexpr double kFar = 1e20;          // a unit so large that there is always a smaller one
constexpr double kHair = 1.0001;       // how much more what lies above the origin counts: see the oracle
constexpr int kLargestPosition = 127;  // of a level: sums of two have eight bits

inline bool is_companded(int bits) { return bits <= kMostCompandedBits; }

// Units from the origin to a level.
inline int position_of(int level) { return level * (level + 5) / 2; }

// Code of the highest level: of any origin, and of this one.
inline int largest_code_of(int bits, bool companded) {
  const int last = (1 << bits) - 1;
  return companded && is_companded(bits) ? std::min(position_of(last), kLargestPosition) : last;
}
inline float highest_code_of(int bits, float origin) {
  const int last = (1 << bits) - 1;
  if (origin < 0.0f) return static_cast<float>(last);
  const int below = static_cast<int>(std::nearbyint(std::sqrt(2.0f * origin + 6.0f) - 2.5f));
  return origin + static_cast<float>(position_of(last - below));
}

struct CompandedRange {
  double unit, origin;
};

// Unit and origin of the finest levels that reach so far below and above it.
inline CompandedRange companded_range(double below, double above, int bits) {
  const int last = (1 << bits) - 1;
  const auto units = [](double distance, int levels) {
    return distance * (levels == 0 ? kFar : 1.0 / position_of(levels));
  };
  CompandedRange finest = {-1.0, 0.0};
  for (int index = 0; index <= last; ++index) {
    if (position_of(index) + position_of(last - index) > kLargestPosition) continue;
    const double unit = std::max(units(below, index), kHair * units(above, last - index));
    if (finest.unit < 0.0 || unit < finest.unit) finest = {unit, static_cast<double>(position_of(index))};
  }
  return finest;
}

}  // namespace daq
