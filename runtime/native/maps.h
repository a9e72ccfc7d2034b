// What is done to whole feature maps besides quantized convolutions: to and from the native layout, element by element, and
// the float convolution that reads the picture.

#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "pool.h"
#include "range.h"
#include "statistics.h"

namespace daq {

struct MapSize {
  int64_t channels, height, width;
  int64_t padded() const { return round_up(channels, kBlock); }
};

// float32 (C, H, W) to half precision (H, W, padded C); statistics (6, C) or null.
void to_native(const Kernels& kernels, const MapSize& size, const float* planar, uint16_t* native, double* statistics,
               const Parallel& parallel);

// Half precision (H, W, padded C) to float32 (C, H, W).
void to_planar(const Kernels& kernels, const MapSize& size, const uint16_t* native, float* planar, const Parallel& parallel);

// Statistics of each channel of a float32 map (C, H, W).
std::vector<ChannelStatistics> planar_statistics(const Kernels& kernels, const MapSize& size, const float* planar,
                                                 const Parallel& parallel);

struct ElementwiseParameters {
  Activation activation;
  Operand operand;
  bool operand_first;
};

// activation(x * gate) and an operand, as in the epilogue of a convolution. `slope` (C) or null, `operand` a map of the same
// size or null, `gate` a map of one pixel or null; `output` may be the input or the operand; `statistics` (6, C) or null.
void elementwise(const Kernels& kernels, const MapSize& size, const ElementwiseParameters& parameters, const float* slope,
                 const uint16_t* input, const uint16_t* operand, const uint16_t* gate, uint16_t* output,
                 double* statistics, const Parallel& parallel);

struct FloatConvolutionParameters {
  int64_t strides[2], pads[4], dilations[2];
  Activation activation;
};

// A float convolution of a planar map of few channels into a native one.
class FloatConvolution {
 public:
  // `weights` (outputs, inputs, kernel), `bias` (outputs), `slope` (outputs) or null.
  FloatConvolution(const Kernels& kernels, const FloatConvolutionParameters& parameters, int64_t outputs, int64_t inputs,
                   int64_t kernel_height, int64_t kernel_width, const float* weights, const float* bias, const float* slope);

  MapSize output_size(int64_t height, int64_t width) const;
  void run(int64_t height, int64_t width, const float* planar, uint16_t* output, double* statistics,
           const Parallel& parallel) const;

 private:
  struct Band {
    std::vector<float> rows, sums;
    std::vector<const float*> taps;
  };

  void run_rows(int64_t height, int64_t width, const float* planar, uint16_t* output, int64_t first_row, int64_t last_row,
                Band& band, BandStatistics* statistics) const;

  const Kernels& kernels_;
  FloatConvolutionParameters parameters_;
  int64_t outputs_, inputs_, kernel_[2];
  std::vector<float> weights_;  // (blocks, taps, kBlock)
  std::vector<float> bias_, slope_, valid_;
  mutable Pool<Band> bands_;
};

}  // namespace daq
