// How work is split: the caller brings the threads.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace daq {

// Calls work(0) .. work(count - 1), in any order and on any thread, and returns when all are done.
using Parallel = std::function<void(int64_t count, const std::function<void(int64_t)>& work)>;

// Rows that are computed together. It depends on the picture alone, so that sums do not depend on the number of threads.
inline int64_t band_rows(int64_t height) { return std::clamp<int64_t>((height + 15) / 16, 4, 16); }
inline int64_t band_count(int64_t height) { return (height + band_rows(height) - 1) / band_rows(height); }

}  // namespace daq
