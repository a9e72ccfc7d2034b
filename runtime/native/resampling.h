// Native maps of another size: interpolated, or the largest value of a window.

#pragma once

#include <cstdint>

#include "maps.h"

namespace daq {

// Where the pixels of the output lie in the input, as ONNX's Resize names it.
enum class Coordinates { half_pixel, pytorch_half_pixel, align_corners, asymmetric };
enum class Nearest { round_prefer_floor, round_prefer_ceil, floor, ceil };

struct ResizeParameters {
  bool linear;  // or the nearest pixel
  Coordinates coordinates;
  Nearest nearest;
};

// Half precision (H, W, padded C) to the size of `output`; `scale` of height and width, statistics (6, C) or null.
// Source: ONNX Resize, version 13.
void resize(const Kernels& kernels, const MapSize& input, const MapSize& output, const float (&scale)[2],
            const ResizeParameters& parameters, const uint16_t* source, uint16_t* target, double* statistics,
            const Parallel& parallel);

struct PoolParameters {
  int64_t kernel[2], strides[2], pads[4], dilations[2];  // dilations are 1
};

// The largest value of each window; what is outside the map counts for nothing. Source: ONNX MaxPool, version 12.
void max_pool(const Kernels& kernels, const MapSize& input, const MapSize& output, const PoolParameters& parameters,
              const uint16_t* source, uint16_t* target, double* statistics, const Parallel& parallel);

}  // namespace daq
