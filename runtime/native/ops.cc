#include "ops.h"

#include <algorithm>

#include "op_checks.h"

namespace daq {
namespace {

using ort::Context;
using ort::Error;
using ort::Shape;
using ort::Tensor;

Activation activation_of(const ort::Attributes& attributes) {
  return choice_of<Activation>(attributes, "activation", {{"none", Activation::none},
                                                          {"relu", Activation::relu},
                                                          {"slope", Activation::slope},
                                                          {"sigmoid", Activation::sigmoid},
                                                          {"tanh", Activation::tanh}});
}

Operand operand_of(const ort::Attributes& attributes) {
  return choice_of<Operand>(attributes, "operand",
                            {{"none", Operand::none}, {"add", Operand::add}, {"multiply", Operand::multiply}});
}

const float* optional_slope(const Context& context, size_t index, int64_t channels, Activation activation) {
  const Tensor<const float> slope = context.input<float>(index);
  if (activation != Activation::slope) return nullptr;
  if (ort::element_count(slope.shape) != channels) throw Error("slope must have one value a channel");
  return slope.data;
}

}  // namespace

QuantizedConvolution::QuantizedConvolution(const ort::Attributes& attributes, bool planar) {
  parameters_.channels = channel_counts(attributes);
  parameters_.first_channel = attributes.integers("first_channel");
  if (parameters_.first_channel.size() != parameters_.channels.size()) throw Error("first_channel and channels do not agree");
  parameters_.bits = bits_of(attributes, sum_of(parameters_.channels));
  read_sizes(attributes, "strides", 1, parameters_.strides);
  read_sizes(attributes, "pads", 0, parameters_.pads);
  read_sizes(attributes, "dilations", 1, parameters_.dilations);
  parameters_.activation = activation_of(attributes);
  parameters_.operand = operand_of(attributes);
  parameters_.operand_first = attributes.integer("operand_first") != 0;
  parameters_.blocksize = attributes.integer("blocksize");
  parameters_.depth_first = attributes.string("mode") == "DCR";
  parameters_.planar = planar;
  statistics_ = !planar && attributes.integer("statistics") != 0;
  parameters_.counts_positives = !planar && attributes.integer("positives") != 0;
  parameters_.companded = attributes.integer("companded") != 0;
  parameters_.feedback_order = attributes.integers("feedback_order");
  parameters_.exact = attributes.integer("exact") != 0;
  mid_rise_ = attributes.integer("mid_rise") != 0;
}

const Convolution& QuantizedConvolution::convolution(const Context& context) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (convolution_ == nullptr) {
    const Tensor<const int8_t> codes = context.input<int8_t>(4);
    const Tensor<const float> step = context.input<float>(5), bias = context.input<float>(6);
    const Tensor<const float> feedback = context.input<float>(3);
    check_rank(codes.shape, 4, "weight");
    const int64_t outputs = codes.shape[0];
    if (ort::element_count(step.shape) != outputs || ort::element_count(bias.shape) != outputs) {
      throw Error("weight step and bias must have one value an output channel");
    }
    const int64_t inputs = sum_of(parameters_.channels);
    if (!feedback.empty() && ort::element_count(feedback.shape) != 2 * inputs * inputs) {
      throw Error("feedback must have two values for each pair of channels");
    }
    const ConvolutionWeights weights = {outputs, codes.shape[1], {codes.shape[2], codes.shape[3]}, codes.data, step.data,
                                        mid_rise_, bias.data,
                                        optional_slope(context, 7, outputs, parameters_.activation),
                                        feedback.empty() ? nullptr : feedback.data};
    convolution_ = std::make_unique<Convolution>(chosen_kernels(), parameters_, weights);
  }
  return *convolution_;
}

void QuantizedConvolution::compute(const Context& context) {
  constexpr size_t kFirstSource = 9;
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
  const Tensor<const uint16_t> operand = context.input<uint16_t>(8);
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
  parameters_.activation = activation_of(attributes);
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
    : parameters_{activation_of(attributes), operand_of(attributes),
                  attributes.integer("operand_first") != 0},
      channels_(channels_of(attributes)),
      statistics_(attributes.integer("statistics") != 0) {}

void ElementwiseOp::compute(const Context& context) {
  const Tensor<const uint16_t> map = native_input(context, 0, channels_);
  const MapSize size = map_size(map, channels_);
  const Tensor<const uint16_t> operand = context.input<uint16_t>(2);
  const bool has_operand = parameters_.operand != Operand::none;
  if (has_operand && operand.shape != map.shape) throw Error("the operand has another size");
  const Tensor<const uint16_t> gate = context.input<uint16_t>(3);
  if (!gate.empty() && gate.shape != Shape{map.shape[0], 1, 1, map.shape[3]}) throw Error("the gate must be a map of one pixel");
  const int64_t images = map.shape[0], count = size.height * size.width * size.padded();
  const float* slope = optional_slope(context, 1, channels_, parameters_.activation);
  uint16_t* output = context.output<uint16_t>(0, map.shape);
  double* statistics = statistics_output(context, statistics_, images, channels_);
  for (int64_t n = 0; n < images; ++n) {
    elementwise(chosen_kernels(), size, parameters_, slope, map.data + n * count,
                has_operand ? operand.data + n * count : nullptr,
                gate.empty() ? nullptr : gate.data + n * size.padded(), output + n * count,
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
  const MapSize size = map_size(map, channels_);
  const int64_t images = map.shape[0], pixels = size.height * size.width;
  float* output = context.output<float>(0, {images, size.channels, size.height, size.width});
  for (int64_t n = 0; n < images; ++n) {
    to_planar(chosen_kernels(), size, map.data + n * pixels * size.padded(), output + n * pixels * size.channels,
              parallel_of(context));
  }
}

}  // namespace daq
