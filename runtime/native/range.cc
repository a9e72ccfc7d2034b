#include "range.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "companding.h"

namespace daq {
namespace {

constexpr double kTiny = 1e-15;
constexpr double kLargestSpread = 1125899906842624.0;  // 2^50
// Step of the optimal uniform quantizer of a unit Gaussian, by bits (Max 1960, table II).
constexpr double kUnitStep[] = {0.0, 1.5958, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308};

double spread_of(const ChannelStatistics& channel, bool is_signed) {
  const double number = is_signed ? channel.count : std::max(channel.positives, 1.0);
  const double mean = channel.total / number;
  const double variance = channel.total_squares / number - mean * mean;
  return std::min(std::sqrt(std::max(variance, 0.0)), kLargestSpread);
}

// Quantizes spreads by the Gaussian quantizer across channels; one that would not stay positive keeps its own.
void quantize_spreads(std::vector<double>& spreads, int bits) {
  const auto number = static_cast<double>(spreads.size());
  double mean = 0.0, variance = 0.0;
  for (const double spread : spreads) mean += spread / number;
  for (const double spread : spreads) variance += (spread - mean) * (spread - mean) / number;
  const double levels = std::ldexp(1.0, bits);
  const double step = std::max(kUnitStep[bits] * std::sqrt(variance), kTiny);
  const double lo = mean - (levels / 2 - 0.5) * step;
  for (double& spread : spreads) {
    const double code = std::clamp(std::nearbyint((spread - lo) / step), 0.0, levels - 1);
    const double quantized = code * step + lo;
    if (quantized > 0) spread = quantized;
  }
}

// Where a side is clipped: between the Gaussian's clip and the side's extent, and at most at its extent.
double clip_of(double gaussian, double extent, double tail) {
  return std::min(std::pow(gaussian, 1 - tail) * std::pow(extent, tail), extent);
}

}  // namespace

RangeRule range_rule_of(const std::string& name) {
  if (name == "paper") return RangeRule::paper;
  if (name == "reference") return RangeRule::reference;
  if (name == "deploy") return RangeRule::deploy;
  throw std::invalid_argument("range rule " + name + " is none of paper, reference, deploy");
}

void channel_ranges(const RangeParameters& parameters, const std::vector<ChannelStatistics>& statistics, float* lo,
                    float* step, float* origin) {
  std::vector<double> spreads;
  spreads.reserve(statistics.size());
  for (const ChannelStatistics& channel : statistics) spreads.push_back(spread_of(channel, parameters.is_signed));
  if (parameters.range_bits > 0) quantize_spreads(spreads, parameters.range_bits);
  for (size_t c = 0; c < statistics.size(); ++c) {
    const ChannelStatistics& channel = statistics[c];
    const int bits = parameters.bits[c];
    const double steps = std::ldexp(1.0, bits) - 1;
    const double mean = channel.total / channel.count;
    double channel_step = 0.0, channel_lo = 0.0;
    if (parameters.rule == RangeRule::deploy) {
      const double tail = parameters.tail[c], centre = parameters.is_signed ? mean : 0.0;
      double below = 0.0, above = 0.0;
      if (parameters.is_signed) {
        const double gaussian = kUnitStep[bits] * spreads[c] * steps / 2;
        below = clip_of(gaussian, std::max(mean - channel.minimum, 0.0), tail);
        above = clip_of(gaussian, std::max(channel.maximum - mean, 0.0), tail);
      } else {
        above = clip_of(kUnitStep[bits] * spreads[c] * steps, channel.maximum, tail);
      }
      if (parameters.companded) origin[c] = kEvenLevels;
      if (parameters.companded && is_companded(bits)) {
        const CompandedRange range = companded_range(below, above, bits);
        channel_step = std::max(range.unit, kTiny);
        below = range.origin * channel_step;
        origin[c] = static_cast<float>(range.origin);
      } else {
        channel_step = std::max((below + above) / steps, kTiny);
      }
      channel_lo = centre - below;
    } else {
      channel_step = std::max(kUnitStep[parameters.rule == RangeRule::paper ? bits : bits - 1] * spreads[c], kTiny);
      if (parameters.is_signed) channel_lo = mean - steps / 2 * channel_step;
    }
    lo[c] = static_cast<float>(channel_lo);
    step[c] = static_cast<float>(channel_step);
  }
}

}  // namespace daq
