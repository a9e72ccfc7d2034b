#include "ops.h"

#include <algorithm>
#include <cmath>

#include "companding.h"

namespace daq {
namespace {

using ort::Context;
using ort::Error;
using ort::Shape;
using ort::Tensor;

Parallel parallel_of(const Context& context) {
  return [&context](int64_t count, const std::function<void(int64_t)>& work) { context.parallel(count, work); };
}

Activation activation_of(const std::string& name) {
  if (name == "none") return Activation::none;
  if (name == "relu") return Activation::relu;
  if (name == "slope") return Activation::slope;
  if (name == "sigmoid") return Activation::sigmoid;
  if (name == "tanh") return Activation::tanh;
  throw Error("activation " + name + " is none of none, relu, slope, sigmoid, tanh");
}

Operand operand_of(const std::string& name) {
  if (name == "none") return Operand::none;
  if (name == "add") return Operand::add;
  if (name == "multiply") return Operand::multiply;
  throw Error("operand " + name + " is none of none, add, multiply");
}

template <size_t kCount>
void read_sizes(const ort::Attributes& attributes, const char* name, int64_t least, int64_t (&target)[kCount]) {
  const std::vector<int64_t> values = attributes.integers(name);
  if (values.size() != kCount) throw Error(std::string(name) + " has the wrong number of values");
  for (const int64_t value : values) {
    if (value < least) throw Error(std::string(name) + " has a value that is too small");
  }
  std::copy(values.begin(), values.end(), target);
}

void check_bits(const std::vector<int>& bits) {
  for (const int value : bits) {
    if (value < 2 || value > 8) throw Error("bits " + std::to_string(value) + " are not 2 to 8");
  }
}

std::vector<int64_t> channel_counts(const ort::Attributes& attributes) {
  std::vector<int64_t> channels = attributes.integers("channels");
  if (channels.empty()) throw Error("channels is empty");
  for (const int64_t count : channels) {
    if (count < 1) throw Error("channels has a value below 1");
  }
  return channels;
}

std::vector<int> bits_of(const ort::Attributes& attributes, int64_t channels) {
  const std::vector<int64_t> values = attributes.integers("bits");
  std::vector<int> bits(values.begin(), values.end());
  if (bits.size() == 1) bits.assign(static_cast<size_t>(channels), bits[0]);
  if (static_cast<int64_t>(bits.size()) != channels) throw Error("bits must be one number, or one a channel");
  check_bits(bits);
  return bits;
}

int64_t sum_of(const std::vector<int64_t>& values) {
  int64_t sum = 0;
  for (const int64_t value : values) sum += value;
  return sum;
}

RangeParameters function_parameters(const ort::Attributes& attributes) {
  RangeParameters parameters;
  parameters.rule = range_rule_of(attributes.string("rule"));
  parameters.is_signed = attributes.integer("signed") != 0;
  parameters.range_bits = static_cast<int>(attributes.integer("range_bits"));
  if (parameters.range_bits < 0 || parameters.range_bits > 8) throw Error("range_bits must be 0 to 8");
  parameters.companded = false;
  return parameters;
}

void check_rank(const Shape& shape, size_t rank, const char* what) {
  if (shape.size() != rank) throw Error(std::string(what) + " has rank " + std::to_string(shape.size()));
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

// The same with bits and tail of each channel from the inputs that follow X.
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

// A native map: (N, H, W, padded C).
Tensor<const uint16_t> native_input(const Context& context, size_t index, int64_t least_channels) {
  Tensor<const uint16_t> map = context.input<uint16_t>(index);
  check_rank(map.shape, 4, "a native map");
  if (map.shape[3] % kBlock != 0 || map.shape[3] < least_channels) throw Error("a native map has too few channels");
  if (map.empty()) throw Error("a native map is empty");
  return map;
}

double* statistics_output(const Context& context, bool wanted, int64_t images, int64_t channels) {
  if (!wanted) {
    context.output<double>(1, {0});
    return nullptr;
  }
  return context.output<double>(1, {images, kStatistics, channels});
}

const float* optional_slope(const Context& context, size_t index, int64_t channels, Activation activation) {
  const Tensor<const float> slope = context.input<float>(index);
  if (activation != Activation::slope) return nullptr;
  if (ort::element_count(slope.shape) != channels) throw Error("slope must have one value a channel");
  return slope.data;
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

MixedChannelRangeOp::MixedChannelRangeOp(const ort::Attributes& attributes) : parameters_(function_parameters(attributes)) {}

void MixedChannelRangeOp::compute(const Context& context) {
  const RangeParameters parameters = with_own_bits(parameters_, context);
  const Shape shape = context.input<float>(0).shape;
  float* lo = context.output<float>(0, {shape[0], shape[1], 1, 1});
  float* step = context.output<float>(1, {shape[0] * shape[1]});
  float* span = context.output<float>(2, {shape[0], shape[1], 1, 1});
  planar_ranges(context, parameters, lo, step, nullptr);
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i) {
    span[i] = step[i] * highest_code_of(parameters.bits[static_cast<size_t>(i % shape[1])], kEvenLevels);
  }
}

CompandedRangeOp::CompandedRangeOp(const ort::Attributes& attributes) : parameters_(function_parameters(attributes)) {
  parameters_.companded = true;
}

void CompandedRangeOp::compute(const Context& context) {
  const RangeParameters parameters = with_own_bits(parameters_, context);
  const Shape shape = context.input<float>(0).shape;
  float* lo = context.output<float>(0, {shape[0], shape[1], 1, 1});
  float* step = context.output<float>(1, {shape[0] * shape[1]});
  float* span = context.output<float>(2, {shape[0], shape[1], 1, 1});
  float* origin = context.output<float>(3, {shape[0], shape[1], 1, 1});
  planar_ranges(context, parameters, lo, step, origin);
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i) {
    span[i] = step[i] * highest_code_of(parameters.bits[static_cast<size_t>(i % shape[1])], origin[i]);
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

QuantizedConvolution::QuantizedConvolution(const ort::Attributes& attributes, bool planar) {
  parameters_.channels = channel_counts(attributes);
  parameters_.first_channel = attributes.integers("first_channel");
  if (parameters_.first_channel.size() != parameters_.channels.size()) throw Error("first_channel and channels do not agree");
  parameters_.bits = bits_of(attributes, sum_of(parameters_.channels));
  read_sizes(attributes, "strides", 1, parameters_.strides);
  read_sizes(attributes, "pads", 0, parameters_.pads);
  read_sizes(attributes, "dilations", 1, parameters_.dilations);
  parameters_.activation = activation_of(attributes.string("activation"));
  parameters_.operand = operand_of(attributes.string("operand"));
  parameters_.operand_first = attributes.integer("operand_first") != 0;
  parameters_.blocksize = attributes.integer("blocksize");
  parameters_.depth_first = attributes.string("mode") == "DCR";
  parameters_.planar = planar;
  statistics_ = !planar && attributes.integer("statistics") != 0;
  parameters_.counts_positives = !planar && attributes.integer("positives") != 0;
  parameters_.companded = attributes.integer("companded") != 0;
  parameters_.exact = attributes.integer("exact") != 0;
  mid_rise_ = attributes.integer("mid_rise") != 0;
}

const Convolution& QuantizedConvolution::convolution(const Context& context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (convolution_ == nullptr) {
    const Tensor<const int8_t> codes = context.input<int8_t>(3);
    const Tensor<const float> step = context.input<float>(4), bias = context.input<float>(5);
    check_rank(codes.shape, 4, "weight");
    const int64_t outputs = codes.shape[0];
    if (ort::element_count(step.shape) != outputs || ort::element_count(bias.shape) != outputs) {
      throw Error("weight step and bias must have one value an output channel");
    }
    const ConvolutionWeights weights = {outputs, codes.shape[1], {codes.shape[2], codes.shape[3]}, codes.data, step.data,
                                        mid_rise_, bias.data,
                                        optional_slope(context, 6, outputs, parameters_.activation)};
    convolution_ = std::make_unique<Convolution>(chosen_kernels(), parameters_, weights);
  }
  return *convolution_;
}

void QuantizedConvolution::compute(const Context& context) {
  constexpr size_t kFirstSource = 8;
  const Convolution& convolution = this->convolution(context);
  const size_t sources = parameters_.channels.size();
  if (context.input_count() != kFirstSource + sources) throw Error("channels and the inputs do not agree");
  std::vector<Tensor<const uint16_t>> maps;
  ConvolutionRun run = {};
  for (size_t source = 0; source < sources; ++source) {
    maps.push_back(native_input(context, kFirstSource + source,
                                parameters_.first_channel[source] + parameters_.channels[source]));
    const Shape &shape = maps.back().shape, &first = maps[0].shape;
    if (!std::equal(shape.begin(), shape.begin() + 3, first.begin())) throw Error("the inputs differ in size");
    run.strides.push_back(shape[3]);
  }
  const int64_t images = maps[0].shape[0], inputs = sum_of(parameters_.channels);
  run.height = maps[0].shape[1];
  run.width = maps[0].shape[2];
  const int64_t height = convolution.output_height(run.height), width = convolution.output_width(run.width);
  if (height < 1 || width < 1) throw Error("the input is smaller than the kernel");
  const Tensor<const float> lo = context.input<float>(0), step = context.input<float>(1), origin = context.input<float>(2);
  const int64_t ranges = ort::element_count(lo.shape);
  if (parameters_.companded && ranges != ort::element_count(origin.shape)) throw Error("origin must have one value a channel");
  if (ranges != ort::element_count(step.shape) || (ranges != inputs && ranges != images * inputs)) {
    throw Error("lo and step must have one value a channel");
  }
  const int64_t channels = convolution.output_channels(), padded = round_up(channels, kBlock);
  const int64_t size = parameters_.blocksize;
  const Shape half_shape = {images, height * size, width * size, padded};
  const Shape planar_shape = {images, channels, height * size, width * size};
  const Tensor<const uint16_t> operand = context.input<uint16_t>(7);
  if (parameters_.operand != Operand::none && operand.shape != half_shape) throw Error("the operand has another size");
  float* float_output = parameters_.planar ? context.output<float>(0, planar_shape) : nullptr;
  uint16_t* half_output = parameters_.planar ? nullptr : context.output<uint16_t>(0, half_shape);
  double* statistics = parameters_.planar ? nullptr : statistics_output(context, statistics_, images, channels);
  for (int64_t n = 0; n < images; ++n) {
    const int64_t range = ranges == inputs ? 0 : n * inputs;
    run.lo = lo.data + range;
    run.step = step.data + range;
    run.origin = parameters_.companded ? origin.data + range : nullptr;
    run.sources.clear();
    for (const auto& map : maps) run.sources.push_back(map.data + n * run.height * run.width * map.shape[3]);
    const int64_t output_size = height * size * width * size;
    run.operand = parameters_.operand == Operand::none ? nullptr : operand.data + n * output_size * padded;
    run.half_output = half_output == nullptr ? nullptr : half_output + n * output_size * padded;
    run.float_output = float_output == nullptr ? nullptr : float_output + n * output_size * channels;
    run.statistics = statistics == nullptr ? nullptr : statistics + n * kStatistics * channels;
    convolution.run(run, parallel_of(context));
  }
}

FloatConvOp::FloatConvOp(const ort::Attributes& attributes) : statistics_(attributes.integer("statistics") != 0) {
  read_sizes(attributes, "strides", 1, parameters_.strides);
  read_sizes(attributes, "pads", 0, parameters_.pads);
  read_sizes(attributes, "dilations", 1, parameters_.dilations);
  parameters_.activation = activation_of(attributes.string("activation"));
}

void FloatConvOp::compute(const Context& context) {
  const Tensor<const float> map = context.input<float>(0), weight = context.input<float>(1);
  check_rank(map.shape, 4, "X");
  check_rank(weight.shape, 4, "weight");
  if (map.shape[1] != weight.shape[1]) throw Error("X and weight differ in channels");
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (convolution_ == nullptr) {
      const Shape& shape = weight.shape;
      const Tensor<const float> bias = context.input<float>(2);
      if (ort::element_count(bias.shape) != shape[0]) throw Error("bias must have one value an output channel");
      convolution_ = std::make_unique<FloatConvolution>(chosen_kernels(), parameters_, shape[0], shape[1], shape[2], shape[3],
                                                        weight.data, bias.data,
                                                        optional_slope(context, 3, shape[0], parameters_.activation));
    }
  }
  const int64_t images = map.shape[0], height = map.shape[2], width = map.shape[3];
  const MapSize size = convolution_->output_size(height, width);
  if (size.height < 1 || size.width < 1 || images * height * width == 0) throw Error("the input is smaller than the kernel");
  uint16_t* output = context.output<uint16_t>(0, {images, size.height, size.width, size.padded()});
  double* statistics = statistics_output(context, statistics_, images, size.channels);
  for (int64_t n = 0; n < images; ++n) {
    convolution_->run(height, width, map.data + n * map.shape[1] * height * width,
                      output + n * size.height * size.width * size.padded(),
                      statistics == nullptr ? nullptr : statistics + n * kStatistics * size.channels, parallel_of(context));
  }
}

ElementwiseOp::ElementwiseOp(const ort::Attributes& attributes)
    : parameters_{activation_of(attributes.string("activation")), operand_of(attributes.string("operand")),
                  attributes.integer("operand_first") != 0},
      channels_(attributes.integer("channels")),
      statistics_(attributes.integer("statistics") != 0) {
  if (channels_ < 1) throw Error("channels must be 1 or more");
}

void ElementwiseOp::compute(const Context& context) {
  const Tensor<const uint16_t> map = native_input(context, 0, channels_);
  if (map.shape[3] != round_up(channels_, kBlock)) throw Error("X has another number of channels");
  const Tensor<const uint16_t> operand = context.input<uint16_t>(2);
  const bool has_operand = parameters_.operand != Operand::none;
  if (has_operand && operand.shape != map.shape) throw Error("the operand has another size");
  const MapSize size = {channels_, map.shape[1], map.shape[2]};
  const int64_t images = map.shape[0], count = size.height * size.width * size.padded();
  const float* slope = optional_slope(context, 1, channels_, parameters_.activation);
  uint16_t* output = context.output<uint16_t>(0, map.shape);
  double* statistics = statistics_output(context, statistics_, images, channels_);
  for (int64_t n = 0; n < images; ++n) {
    elementwise(chosen_kernels(), size, parameters_, slope, map.data + n * count,
                has_operand ? operand.data + n * count : nullptr, output + n * count,
                statistics == nullptr ? nullptr : statistics + n * kStatistics * channels_, parallel_of(context));
  }
}

void ToNativeOp::compute(const Context& context) {
  const Tensor<const float> map = context.input<float>(0);
  check_rank(map.shape, 4, "X");
  if (map.empty()) throw Error("X is an empty map");
  const MapSize size = {map.shape[1], map.shape[2], map.shape[3]};
  const int64_t images = map.shape[0], pixels = size.height * size.width;
  uint16_t* output = context.output<uint16_t>(0, {images, size.height, size.width, size.padded()});
  double* statistics = statistics_output(context, statistics_, images, size.channels);
  for (int64_t n = 0; n < images; ++n) {
    to_native(chosen_kernels(), size, map.data + n * pixels * size.channels, output + n * pixels * size.padded(),
              statistics == nullptr ? nullptr : statistics + n * kStatistics * size.channels, parallel_of(context));
  }
}

void ToPlanarOp::compute(const Context& context) {
  const Tensor<const uint16_t> map = native_input(context, 0, channels_);
  if (map.shape[3] != round_up(channels_, kBlock)) throw Error("X has another number of channels");
  const MapSize size = {channels_, map.shape[1], map.shape[2]};
  const int64_t images = map.shape[0], pixels = size.height * size.width;
  float* output = context.output<float>(0, {images, size.channels, size.height, size.width});
  for (int64_t n = 0; n < images; ++n) {
    to_planar(chosen_kernels(), size, map.data + n * pixels * size.padded(), output + n * pixels * size.channels,
              parallel_of(context));
  }
}

}  // namespace daq
