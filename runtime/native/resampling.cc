#include "resampling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "map_rows.h"

namespace daq {
namespace {

// What a pixel of the output is made of, along one axis: `weight` of `second`, the rest of `first`.
struct Source {
  int64_t first, second;
  float weight;
};

// In float, as ONNX Runtime has it: the nearest pixel may hang on the last bit.
float place_of(int64_t index, int64_t input, int64_t output, float scale, Coordinates coordinates) {
  const auto place = static_cast<float>(index);
  switch (coordinates) {
    case Coordinates::align_corners:
      return output == 1 ? 0.0f : place * static_cast<float>(input - 1) / static_cast<float>(output - 1);
    case Coordinates::asymmetric: return place / scale;
    case Coordinates::pytorch_half_pixel: return output > 1 ? (place + 0.5f) / scale - 0.5f : 0.0f;
    default: return (place + 0.5f) / scale - 0.5f;
  }
}

float nearest_of(float place, Nearest nearest) {
  switch (nearest) {
    case Nearest::floor: return std::floor(place);
    case Nearest::ceil: return std::ceil(place);
    case Nearest::round_prefer_ceil: return std::floor(place + 0.5f);
    default: return std::ceil(place - 0.5f);
  }
}

std::vector<Source> sources_of(int64_t input, int64_t output, float scale, const ResizeParameters& parameters) {
  std::vector<Source> sources;
  const auto last = static_cast<float>(input - 1);
  for (int64_t index = 0; index < output; ++index) {
    float place = place_of(index, input, output, scale, parameters.coordinates);
    if (!parameters.linear) place = nearest_of(place, parameters.nearest);
    place = std::clamp(place, 0.0f, last);
    const auto first = static_cast<int64_t>(place);
    sources.push_back({first, std::min(first + 1, input - 1), place - static_cast<float>(first)});
  }
  return sources;
}

typedef float Four __attribute__((vector_size(16)));
constexpr int kFours = kBlock / 4;  // that SSE and NEON hold: this file runs on any processor

inline Four four_at(const float* values, int64_t index) {
  Four four;
  std::memcpy(&four, values + index * 4, sizeof(four));
  return four;
}

inline void put_four(float* values, int64_t index, Four four) { std::memcpy(values + index * 4, &four, sizeof(four)); }

inline Four between(Four first, Four second, float weight) { return first + (second - first) * (Four{} + weight); }

inline Four larger(Four a, Four b) { return a > b ? a : b; }

}  // namespace

void resize(const Kernels& kernels, const MapSize& input, const MapSize& output, const float (&scale)[2],
            const ResizeParameters& parameters, const uint16_t* source, uint16_t* target, double* statistics,
            const Parallel& parallel) {
  const BlockRows source_rows(kernels, input), target_rows(kernels, output);
  const std::vector<Source> rows = sources_of(input.height, output.height, scale[0], parameters);
  const std::vector<Source> columns = sources_of(input.width, output.width, scale[1], parameters);
  run_bands(output, statistics, parallel, [&](int64_t first_row, int64_t last_row, BandStatistics* gathered) {
    std::vector<float> upper(static_cast<size_t>(input.width * kBlock)), lower(upper.size());
    float values[kMapChunk * kBlock];
    for (int64_t row = first_row; row < last_row; ++row) {
      const Source& own = rows[static_cast<size_t>(row)];
      if (gathered != nullptr) gathered->begin_row();
      for (int64_t channel = 0; channel < output.padded(); channel += kBlock) {
        source_rows.load(source, own.first, 0, input.width, channel, upper.data());
        if (own.weight > 0.0f) {
          source_rows.load(source, own.second, 0, input.width, channel, lower.data());
          for (int64_t i = 0; i < input.width * kFours; ++i) {
            put_four(upper.data(), i, between(four_at(upper.data(), i), four_at(lower.data(), i), own.weight));
          }
        }
        for (int64_t x = 0; x < output.width; x += kMapChunk) {
          const int64_t pixels = std::min<int64_t>(kMapChunk, output.width - x);
          for (int64_t p = 0; p < pixels; ++p) {
            const Source& column = columns[static_cast<size_t>(x + p)];
            const float *left = upper.data() + column.first * kBlock, *right = upper.data() + column.second * kBlock;
            for (int i = 0; i < kFours; ++i) {
              put_four(values + p * kBlock, i, between(four_at(left, i), four_at(right, i), column.weight));
            }
          }
          target_rows.store(values, row, x, pixels, channel, row == first_row, gathered, target);
        }
      }
      if (gathered != nullptr) gathered->end_row(output.width);
    }
  });
}

void max_pool(const Kernels& kernels, const MapSize& input, const MapSize& output, const PoolParameters& parameters,
              const uint16_t* source, uint16_t* target, double* statistics, const Parallel& parallel) {
  const BlockRows source_rows(kernels, input), target_rows(kernels, output);
  run_bands(output, statistics, parallel, [&](int64_t first_row, int64_t last_row, BandStatistics* gathered) {
    std::vector<float> largest(static_cast<size_t>(input.width * kBlock)), other(largest.size());
    float values[kMapChunk * kBlock];
    for (int64_t row = first_row; row < last_row; ++row) {
      const int64_t top = row * parameters.strides[0] - parameters.pads[0];
      const int64_t begin = std::max<int64_t>(top, 0), end = std::min(top + parameters.kernel[0], input.height);
      if (gathered != nullptr) gathered->begin_row();
      for (int64_t channel = 0; channel < output.padded(); channel += kBlock) {
        source_rows.load(source, begin, 0, input.width, channel, largest.data());
        for (int64_t line = begin + 1; line < end; ++line) {
          source_rows.load(source, line, 0, input.width, channel, other.data());
          for (int64_t i = 0; i < input.width * kFours; ++i) {
            put_four(largest.data(), i, larger(four_at(largest.data(), i), four_at(other.data(), i)));
          }
        }
        for (int64_t x = 0; x < output.width; x += kMapChunk) {
          const int64_t pixels = std::min<int64_t>(kMapChunk, output.width - x);
          for (int64_t p = 0; p < pixels; ++p) {
            const int64_t left = (x + p) * parameters.strides[1] - parameters.pads[1];
            const int64_t stop = std::min(left + parameters.kernel[1], input.width);
            for (int i = 0; i < kFours; ++i) {
              Four found = Four{} - std::numeric_limits<float>::max();
              for (int64_t column = std::max<int64_t>(left, 0); column < stop; ++column) {
                found = larger(found, four_at(largest.data() + column * kBlock, i));
              }
              put_four(values + p * kBlock, i, found);
            }
          }
          target_rows.store(values, row, x, pixels, channel, row == first_row, gathered, target);
        }
      }
      if (gathered != nullptr) gathered->end_row(output.width);
    }
  });
}

}  // namespace daq
