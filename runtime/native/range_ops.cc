#include "range_ops.h"

#include "companding.h"
#include "maps.h"
#include "op_checks.h"

namespace daq {
namespace {

using ort::Context;
using ort::Error;
using ort::Shape;
using ort::Tensor;

RangeParameters function_parameters(const ort::Attributes& attributes) {
  RangeParameters parameters;
  parameters.rule = range_rule_of(attributes.string("rule"));
  parameters.is_signed = attributes.integer("signed") != 0;
  parameters.range_bits = static_cast<int>(attributes.integer("range_bits"));
  if (parameters.range_bits < 0 || parameters.range_bits > 8) throw Error("range_bits must be 0 to 8");
  parameters.companded = false;
  return parameters;
}

// Ranges of all channels of all pictures of a planar map, one picture after the other.
void planar_ranges(const Context& context, const RangeParameters& parameters, float* lo, float* step, float* origin) {
  const Tensor<const float> map = context.input<float>(0);
  check_rank(map.shape, 4, "X");
  const MapSize size = {map.shape[1], map.shape[2], map.shape[3]};
  if (static_cast<int64_t>(parameters.bits.size()) != size.channels) throw Error("bits are not one a channel");
  if (size.height * size.width == 0) throw Error("X is an empty map");
  for (int64_t n = 0; n < map.shape[0]; ++n) {
    const auto statistics = planar_statistics(chosen_kernels(), size, map.data + n * size.channels * size.height * size.width,
                                              parallel_of(context));
    const int64_t first = n * size.channels;
    channel_ranges(parameters, statistics, lo + first, step + first, origin == nullptr ? nullptr : origin + first);
  }
}

// Parameters with bits and tail of each channel, from the inputs that follow X.
RangeParameters with_own_bits(RangeParameters parameters, const Context& context) {
  const Tensor<const float> map = context.input<float>(0);
  check_rank(map.shape, 4, "X");
  const int64_t channels = map.shape[1];
  const Tensor<const int32_t> bits = context.input<int32_t>(1);
  const Tensor<const float> tail = context.input<float>(2);
  const auto assign = [channels](const auto& given, auto& values) {
    const int64_t count = ort::element_count(given.shape);
    if (count != 1 && count != channels) throw Error("bits and tail must have one value, or one a channel");
    for (int64_t c = 0; c < channels; ++c) values.push_back(given.data[count == 1 ? 0 : c]);
  };
  assign(bits, parameters.bits);
  assign(tail, parameters.tail);
  check_bits(parameters.bits);
  return parameters;
}

}  // namespace

ChannelRangeOp::ChannelRangeOp(const ort::Attributes& attributes) : parameters_(function_parameters(attributes)) {
  parameters_.bits = {static_cast<int>(attributes.integer("bits"))};
  parameters_.tail = {attributes.real("tail")};
  check_bits(parameters_.bits);
}

void ChannelRangeOp::compute(const Context& context) {
  const Tensor<const float> map = context.input<float>(0);
  check_rank(map.shape, 4, "X");
  const int64_t images = map.shape[0], channels = map.shape[1];
  RangeParameters parameters = parameters_;
  parameters.bits.assign(static_cast<size_t>(channels), parameters_.bits[0]);
  parameters.tail.assign(static_cast<size_t>(channels), parameters_.tail[0]);
  float* lo = context.output<float>(0, {images, channels, 1, 1});
  float* step = context.output<float>(1, {images * channels});
  planar_ranges(context, parameters, lo, step, nullptr);
}

RangeOfOwnBits::RangeOfOwnBits(const ort::Attributes& attributes, bool companded)
    : parameters_(function_parameters(attributes)) {
  parameters_.companded = companded;
}

void RangeOfOwnBits::compute(const Context& context) {
  const RangeParameters parameters = with_own_bits(parameters_, context);
  const Shape shape = context.input<float>(0).shape;
  const Shape of_channels = {shape[0], shape[1], 1, 1};
  float* lo = context.output<float>(0, of_channels);
  float* step = context.output<float>(1, {shape[0] * shape[1]});
  float* span = context.output<float>(2, of_channels);
  float* origin = parameters.companded ? context.output<float>(3, of_channels) : nullptr;
  planar_ranges(context, parameters, lo, step, origin);
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i) {
    const int bits = parameters.bits[static_cast<size_t>(i % shape[1])];
    span[i] = step[i] * highest_code_of(bits, origin == nullptr ? kEvenLevels : origin[i]);
  }
}

RangeOp::RangeOp(const ort::Attributes& attributes)
    : parameters_(function_parameters(attributes)),
      first_channel_(attributes.integers("first_channel")),
      channels_(channel_counts(attributes)) {
  const int64_t channels = sum_of(channels_);
  if (first_channel_.size() != channels_.size()) throw Error("first_channel and channels do not agree");
  parameters_.bits = bits_of(attributes, channels);
  parameters_.companded = attributes.integer("companded") != 0;
  const std::vector<float> tail = attributes.floats("tail");
  parameters_.tail.assign(tail.begin(), tail.end());
  if (parameters_.tail.size() == 1) parameters_.tail.assign(static_cast<size_t>(channels), parameters_.tail[0]);
  if (static_cast<int64_t>(parameters_.tail.size()) != channels) throw Error("tail must be one number, or one a channel");
}

void RangeOp::compute(const Context& context) {
  if (context.input_count() != channels_.size()) throw Error("first_channel, channels and the inputs do not agree");
  const int64_t images = context.input<double>(0).shape[0], channels = sum_of(channels_);
  float* lo = context.output<float>(0, {images, channels});
  float* step = context.output<float>(1, {images, channels});
  float* origin = context.output<float>(2, {parameters_.companded ? images : 0, channels});
  for (int64_t n = 0; n < images; ++n) {
    std::vector<ChannelStatistics> statistics;
    for (size_t source = 0; source < channels_.size(); ++source) {
      const Tensor<const double> input = context.input<double>(source);
      const Shape& shape = input.shape;
      if (shape.size() != 3 || shape[0] != images || shape[1] != kStatistics ||
          first_channel_[source] + channels_[source] > shape[2]) {
        throw Error("statistics must be (N, 6, C) and hold the channels asked for");
      }
      const double* values = input.data + n * kStatistics * shape[2] + first_channel_[source];
      for (int64_t c = 0; c < channels_[source]; ++c) {
        statistics.push_back({values[c], values[shape[2] + c], values[2 * shape[2] + c], values[3 * shape[2] + c],
                              values[4 * shape[2] + c], values[5 * shape[2] + c]});
      }
    }
    const int64_t first = n * channels;
    channel_ranges(parameters_, statistics, lo + first, step + first, parameters_.companded ? origin + first : nullptr);
  }
}

}  // namespace daq
