#include "statistics.h"

#include <algorithm>
#include <limits>

namespace daq {
namespace {

enum { kCount, kPositives, kTotal, kTotalSquares, kMinimum, kMaximum };
constexpr float kFloatInfinity = std::numeric_limits<float>::infinity();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

void BandStatistics::begin(int64_t padded_channels, bool counts_positives) {
  channels_ = padded_channels;
  const auto size = static_cast<size_t>(channels_);
  values_.assign(size * kStatistics, 0.0f);
  totals_.assign(size * kStatistics, 0.0);
  std::fill_n(totals_.begin() + kMinimum * channels_, channels_, kInfinity);
  std::fill_n(totals_.begin() + kMaximum * channels_, channels_, -kInfinity);
  float* values = values_.data();
  row_ = {values,
          counts_positives ? values + kPositives * channels_ : nullptr,
          values + kTotal * channels_,
          values + kTotalSquares * channels_,
          values + kMinimum * channels_,
          values + kMaximum * channels_};
}

void BandStatistics::begin_row() {
  std::fill(values_.data() + kPositives * channels_, row_.minimum, 0.0f);
  std::fill(row_.minimum, row_.maximum, kFloatInfinity);
  std::fill(row_.maximum, row_.maximum + channels_, -kFloatInfinity);
}

void BandStatistics::end_row(int64_t count) {
  double* totals = totals_.data();
  const auto number = static_cast<double>(count);
  for (int64_t c = 0; c < channels_; ++c) {
    const double pivot = row_.pivot[c], distance = row_.total[c];
    totals[kPositives * channels_ + c] += values_[static_cast<size_t>(kPositives * channels_ + c)];
    totals[kTotal * channels_ + c] += distance + number * pivot;
    totals[kTotalSquares * channels_ + c] += row_.total_squares[c] + pivot * (2 * distance + number * pivot);
    double& minimum = totals[kMinimum * channels_ + c];
    double& maximum = totals[kMaximum * channels_ + c];
    minimum = std::min(minimum, static_cast<double>(row_.minimum[c]));
    maximum = std::max(maximum, static_cast<double>(row_.maximum[c]));
  }
}

void merge_statistics(const std::vector<BandStatistics>& bands, int64_t count, int64_t channels, int64_t padded_channels,
                      int64_t groups, double* results) {
  for (int64_t c = 0; c < channels; ++c) {
    double sums[kStatistics] = {static_cast<double>(count), 0, 0, 0, kInfinity, -kInfinity};
    for (const BandStatistics& band : bands) {
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t position = group * padded_channels + c;
        for (int s = kPositives; s <= kTotalSquares; ++s) sums[s] += band.total(s)[position];
        sums[kMinimum] = std::min(sums[kMinimum], band.total(kMinimum)[position]);
        sums[kMaximum] = std::max(sums[kMaximum], band.total(kMaximum)[position]);
      }
    }
    for (int s = 0; s < kStatistics; ++s) results[s * channels + c] = sums[s];
  }
}

}  // namespace daq
