#include "resampling_ops.h"

#include <cmath>

#include "op_checks.h"

namespace daq {
namespace {

using ort::Context;
using ort::Error;
using ort::Tensor;

// Calls `work` with each picture of X, of Y, and its statistics.
template <class Work>
void for_pictures(const Context& context, const Tensor<const uint16_t>& map, const MapSize& output, bool statistics,
                  const Work& work) {
  const int64_t images = map.shape[0], padded = map.shape[3];
  uint16_t* target = context.output<uint16_t>(0, {images, output.height, output.width, padded});
  double* gathered = statistics_output(context, statistics, images, output.channels);
  for (int64_t n = 0; n < images; ++n) {
    work(map.data + n * map.shape[1] * map.shape[2] * padded, target + n * output.height * output.width * padded,
         gathered == nullptr ? nullptr : gathered + n * kStatistics * output.channels);
  }
}

}  // namespace

ResizeOp::ResizeOp(const ort::Attributes& attributes)
    : parameters_{choice_of<bool>(attributes, "mode", {{"linear", true}, {"nearest", false}}),
                  choice_of<Coordinates>(attributes, "coordinates", {{"half_pixel", Coordinates::half_pixel},
                                                                     {"pytorch_half_pixel", Coordinates::pytorch_half_pixel},
                                                                     {"align_corners", Coordinates::align_corners},
                                                                     {"asymmetric", Coordinates::asymmetric}}),
                  choice_of<Nearest>(attributes, "nearest", {{"round_prefer_floor", Nearest::round_prefer_floor},
                                                             {"round_prefer_ceil", Nearest::round_prefer_ceil},
                                                             {"floor", Nearest::floor},
                                                             {"ceil", Nearest::ceil}})},
      channels_(channels_of(attributes)),
      statistics_(attributes.integer("statistics") != 0) {}

void ResizeOp::compute(const Context& context) {
  const Tensor<const uint16_t> map = native_input(context, 0, channels_);
  const Tensor<const float> scales = context.input<float>(1);
  const Tensor<const int64_t> sizes = context.input<int64_t>(2);
  const MapSize input = map_size(map, channels_);
  MapSize output = input;
  float scale[2];
  if (ort::element_count(sizes.shape) == 4) {
    if (sizes.data[0] != map.shape[0] || sizes.data[1] != channels_) throw Error("only height and width can change");
    output.height = sizes.data[2];
    output.width = sizes.data[3];
    scale[0] = static_cast<float>(output.height) / static_cast<float>(input.height);
    scale[1] = static_cast<float>(output.width) / static_cast<float>(input.width);
  } else if (ort::element_count(scales.shape) == 4) {
    if (scales.data[0] != 1.0f || scales.data[1] != 1.0f) throw Error("only height and width can change");
    scale[0] = scales.data[2];
    scale[1] = scales.data[3];
    for (const float factor : scale) {
      if (!(std::isfinite(factor) && factor > 0.0f)) throw Error("a scale must be a positive number");
    }
    output.height = static_cast<int64_t>(std::floor(static_cast<float>(input.height) * scale[0]));
    output.width = static_cast<int64_t>(std::floor(static_cast<float>(input.width) * scale[1]));
  } else {
    throw Error("needs four scales or four sizes");
  }
  if (output.height < 1 || output.width < 1) throw Error("nothing is left of the map");
  for_pictures(context, map, output, statistics_, [&](const uint16_t* source, uint16_t* target, double* statistics) {
    resize(chosen_kernels(), input, output, scale, parameters_, source, target, statistics, parallel_of(context));
  });
}

MaxPoolOp::MaxPoolOp(const ort::Attributes& attributes)
    : parameters_{{}, {}, {}, {1, 1}},
      channels_(channels_of(attributes)),
      statistics_(attributes.integer("statistics") != 0) {
  read_sizes(attributes, "kernel_shape", 1, parameters_.kernel);
  read_sizes(attributes, "strides", 1, parameters_.strides);
  read_sizes(attributes, "pads", 0, parameters_.pads);
  for (int side = 0; side < 4; ++side) {
    if (parameters_.pads[side] >= parameters_.kernel[side % 2]) throw Error("pads must be smaller than the kernel");
  }
}

void MaxPoolOp::compute(const Context& context) {
  const Tensor<const uint16_t> map = native_input(context, 0, channels_);
  const MapSize input = map_size(map, channels_);
  const MapSize output = {channels_, convolved_size(parameters_, 0, input.height, parameters_.kernel[0]),
                          convolved_size(parameters_, 1, input.width, parameters_.kernel[1])};
  if (output.height < 1 || output.width < 1) throw Error("the input is smaller than the kernel");
  for_pictures(context, map, output, statistics_, [&](const uint16_t* source, uint16_t* target, double* statistics) {
    max_pool(chosen_kernels(), input, output, parameters_, source, target, statistics, parallel_of(context));
  });
}

}  // namespace daq
