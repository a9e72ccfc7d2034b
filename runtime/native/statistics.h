// The statistics of a feature map's channels, gathered row by row in float and added up in double.

#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace daq {

constexpr int kStatistics = 6;  // count, positives, total, total_squares, minimum, maximum: the tensor (N, 6, C)

// Totals of one band of rows. What it holds depends on the picture alone, never on the number of threads.
class BandStatistics {
 public:
  void begin(int64_t padded_channels, bool counts_positives);
  // A row: begin_row, `finish` with row(), end_row with the number of values a channel.
  void begin_row();
  void end_row(int64_t count);
  const RowStatistics& row() const { return row_; }
  const double* total(int statistic) const { return totals_.data() + statistic * channels_; }

 private:
  int64_t channels_ = 0;
  std::vector<float> values_;
  std::vector<double> totals_;
  RowStatistics row_{};
};

// Adds up bands, and the `groups` runs of padded channels that hold the same channels (DepthToSpace), into (6, channels).
void merge_statistics(const std::vector<BandStatistics>& bands, int64_t count, int64_t channels, int64_t padded_channels,
                      int64_t groups, double* results);

}  // namespace daq
