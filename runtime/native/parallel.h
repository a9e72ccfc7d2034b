// How work is split: the caller brings the threads.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace daq {

// Calls work(0) .. work(count - 1), in any order and on any thread, and returns when all are done.
using Parallel = std::function<void(int64_t count, const std::function<void(int64_t)>& work)>;

// Bands of rows that are computed together, of 4 rows at least and 16 at most. They depend on the picture alone, so that sums do
// not depend on the number of threads. There are 16, or more by eights, so that few threads have as much to do as each other.
inline int64_t band_count(int64_t height) {
  if (height < 64) return std::max<int64_t>(height / 4, 1);
  return std::max<int64_t>((height + 127) / 128 * 8, 16);
}
inline int64_t band_start(int64_t height, int64_t band) { return height * band / band_count(height); }

}  // namespace daq
