// The native kernels over random shapes, at every tier that this processor has, without ONNX Runtime: results against the
// definition in double precision, statistics against the values that were stored, one thread against several. Built with
// AddressSanitizer and UndefinedBehaviorSanitizer by `make test-sanitizers`. Tensors have exactly the size they must have, so
// that a read or write past their end is found.
//
// kernels_test [CASES [SEED]]

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "companding.h"
#include "convolution.h"
#include "maps.h"
#include "range.h"

namespace {

using daq::Activation;
using daq::Operand;

std::mt19937 generator;
std::string current;  // what is being tested, for messages
int passed = 0, failed = 0;

int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }
double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(generator); }
bool coin() { return whole(0, 1) == 1; }

template <class T>
T one_of(const std::vector<T>& choices) {
  return choices[static_cast<size_t>(whole(0, static_cast<int64_t>(choices.size()) - 1))];
}

size_t index(int64_t value) { return static_cast<size_t>(value); }

bool check(bool good, const char* what) {
  if (!good) std::printf("FAILED: %s: %s\n", current.c_str(), what);
  return good;
}

double from_half(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  double magnitude = std::ldexp(mantissa, -24);
  if (exponent == 31) magnitude = mantissa == 0 ? INFINITY : NAN;
  if (exponent > 0 && exponent < 31) magnitude = std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// Of a value that half precision holds exactly.
uint16_t to_half(double value) {
  if (value == 0) return 0;
  int exponent = 0;
  const double mantissa = std::frexp(std::fabs(value), &exponent);  // 0.5 to 1
  const auto bits = static_cast<uint16_t>((exponent + 14) << 10 | (static_cast<int>(std::ldexp(mantissa, 11)) & 1023));
  return static_cast<uint16_t>(value < 0 ? bits | 0x8000 : bits);
}

void serial(int64_t count, const std::function<void(int64_t)>& work) {
  for (int64_t i = 0; i < count; ++i) work(i);
}

void threaded(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int64_t i = next++; i < count; i = next++) work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A native map (height, width, padded channels) of values that are multiples of 1/32; padding is zero.
std::vector<uint16_t> random_map(int64_t pixels, int64_t channels, bool positive) {
  const int64_t padded = daq::round_up(channels, daq::kBlock);
  std::vector<uint16_t> map(index(pixels * padded), 0);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) map[index(p * padded + c)] = to_half(whole(positive ? 0 : -256, 256) / 32.0);
  }
  return map;
}

double activate(double value, Activation activation, double slope) {
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return std::max(value, 0.0);
    case Activation::slope: return value < 0 ? value * slope : value;
    case Activation::sigmoid: return 1 / (1 + std::exp(-value));
    default: return std::tanh(value);
  }
}

struct Expected {
  double value, tolerance;
};

Expected finish(Expected sum, Activation activation, double slope, Operand operand, bool operand_first, double other) {
  const auto combine = [&](Expected e) -> Expected {
    if (operand == Operand::add) return {e.value + other, e.tolerance};
    return {e.value * other, e.tolerance * std::fabs(other)};
  };
  if (operand != Operand::none && operand_first) sum = combine(sum);
  sum = {activate(sum.value, activation, slope), sum.tolerance + 1e-4};
  if (operand != Operand::none && !operand_first) sum = combine(sum);
  return sum;
}

// Statistics (6, channels) of a stored native map are those of its values.
bool statistics_agree(const std::vector<double>& statistics, const std::vector<uint16_t>& map, int64_t pixels,
                      int64_t channels, bool counts_positives = true) {
  const int64_t padded = daq::round_up(channels, daq::kBlock);
  for (int64_t c = 0; c < channels; ++c) {
    double found[6] = {static_cast<double>(pixels), 0, 0, 0, INFINITY, -INFINITY};
    double magnitude = 0;
    for (int64_t p = 0; p < pixels; ++p) {
      const double value = from_half(map[index(p * padded + c)]);
      found[1] += counts_positives && value > 0;
      found[2] += value;
      found[3] += value * value;
      found[4] = std::min(found[4], value);
      found[5] = std::max(found[5], value);
      magnitude += std::fabs(value);
    }
    // Sums are of distances from the first value, which may be the largest.
    const double largest = std::max(std::fabs(found[4]), std::fabs(found[5]));
    const double squares = found[3] + 0.1 * static_cast<double>(pixels) * largest * largest;
    const double tolerances[6] = {0, 0, 1e-5 * magnitude + 1e-6, 1e-5 * squares + 1e-6, 0, 0};
    for (int s = 0; s < 6; ++s) {
      if (!(std::fabs(statistics[index(s * channels + c)] - found[s]) <= tolerances[s])) {
        std::printf("  statistic %d of channel %d: %.9g, not %.9g\n", s, static_cast<int>(c),
                    statistics[index(s * channels + c)], found[s]);
        return false;
      }
    }
  }
  return true;
}

bool padding_is_zero(const std::vector<uint16_t>& map, int64_t pixels, int64_t channels) {
  const int64_t padded = daq::round_up(channels, daq::kBlock);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = channels; c < padded; ++c) {
      if (from_half(map[index(p * padded + c)]) != 0) return false;
    }
  }
  return true;
}

bool close(double found, const Expected& expected, bool half) {
  const double rounding = (half ? 1e-3 : 1e-5) * std::fabs(expected.value) + 1e-4;
  const bool good = std::fabs(found - expected.value) <= expected.tolerance + rounding;
  if (!good) std::printf("  %.7g, not %.7g within %.3g\n", found, expected.value, expected.tolerance + rounding);
  return good;
}

// Codes of the levels of a channel.
std::vector<double> levels_of(int bits, float origin) {
  std::vector<double> levels;
  for (int code = 0; code < 1 << bits; ++code) levels.push_back(code);
  if (origin < 0) return levels;
  int below = 0;
  while (daq::position_of(below) < static_cast<int>(origin)) ++below;
  for (double& level : levels) {
    const int number = static_cast<int>(level) - below;
    level = origin + (number < 0 ? -1 : 1) * daq::position_of(std::abs(number));
  }
  return levels;
}

double nearest(const std::vector<double>& levels, double position) {
  return *std::min_element(levels.begin(), levels.end(), [position](double a, double b) {
    return std::fabs(a - position) < std::fabs(b - position);
  });
}

bool test_convolution(const daq::Kernels& kernels) {
  daq::ConvolutionParameters parameters = {};
  const int64_t sources = one_of<int64_t>({1, 1, 1, 2, 3});
  int64_t inputs = 0;
  std::vector<int64_t> source_channels;
  for (int64_t s = 0; s < sources; ++s) {
    const int64_t channels = one_of<int64_t>({1, 2, 3, 5, 8, 16, 17, 32, 33, 50});
    const int64_t first = coin() ? 0 : whole(0, 20);
    parameters.channels.push_back(channels);
    parameters.first_channel.push_back(first);
    source_channels.push_back(first + channels + (coin() ? 0 : whole(0, 9)));
    inputs += channels;
  }
  const int bits = static_cast<int>(whole(2, 8));
  const bool mixed = whole(0, 4) == 0;
  parameters.companded = whole(0, 2) == 0;
  int highest = 0;
  std::vector<float> origin;
  for (int64_t i = 0; i < inputs; ++i) {
    const int own = mixed ? static_cast<int>(whole(2, 8)) : bits, last = (1 << own) - 1;
    parameters.bits.push_back(own);
    const bool companded = parameters.companded && daq::is_companded(own);
    const int least = own < 4 ? 0 : 2;  // levels on each side of the origin: then positions have seven bits
    const int below = static_cast<int>(whole(least, last - least));
    origin.push_back(companded ? static_cast<float>(daq::position_of(below)) : daq::kEvenLevels);
    highest = std::max(highest, daq::largest_code_of(own, companded));
  }
  const int64_t kernel[2] = {one_of<int64_t>({1, 2, 3, 3, 5}), one_of<int64_t>({1, 2, 3, 3, 5, 9})};
  const bool usual = coin();
  for (int axis = 0; axis < 2; ++axis) {
    parameters.strides[axis] = usual ? 1 : one_of<int64_t>({1, 1, 2, 3});
    parameters.dilations[axis] = usual ? 1 : one_of<int64_t>({1, 1, 1, 2});
    parameters.pads[axis] = whole(0, 4);
    parameters.pads[axis + 2] = whole(0, 4);
  }
  int64_t size[2];
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t reach = parameters.dilations[axis] * (kernel[axis] - 1) + 1;
    size[axis] = std::max<int64_t>(axis == 0 ? whole(1, 24) : one_of<int64_t>({1, 2, 7, 16, 31, 33, 50, 70}),
                                   reach - parameters.pads[axis] - parameters.pads[axis + 2]);
    size[axis] = std::max<int64_t>(size[axis], 1);
  }
  parameters.blocksize = one_of<int64_t>({1, 1, 1, 2, 3});
  parameters.depth_first = coin();
  parameters.planar = whole(0, 3) == 0;
  const bool wanted = !parameters.planar && coin();  // statistics
  parameters.counts_positives = coin();
  parameters.exact = coin();
  parameters.activation = static_cast<Activation>(whole(0, 4));
  parameters.operand = parameters.blocksize > 1 || parameters.planar ? Operand::none : static_cast<Operand>(whole(0, 2));
  parameters.operand_first = coin();
  const int64_t subpixels = parameters.blocksize * parameters.blocksize;
  const int64_t outputs = subpixels > 1 ? subpixels * whole(1, 20) : one_of<int64_t>({1, 3, 12, 16, 17, 32, 50, 64, 70, 80});

  const int64_t area = kernel[0] * kernel[1];
  std::vector<int8_t> codes(index(outputs * inputs * area));
  for (int8_t& code : codes) code = static_cast<int8_t>(whole(-8, 7));
  std::vector<float> weight_step(index(outputs)), bias(index(outputs)), slope(index(outputs));
  for (float& step : weight_step) step = static_cast<float>(real(0.01, 0.05));
  for (float& value : bias) value = static_cast<float>(real(-1, 1));
  for (float& value : slope) value = static_cast<float>(real(-0.5, 1));
  daq::ConvolutionWeights weights = {};
  weights.outputs = outputs;
  weights.inputs = inputs;
  weights.kernel[0] = kernel[0];
  weights.kernel[1] = kernel[1];
  weights.codes = codes.data();
  weights.step = weight_step.data();
  weights.mid_rise = coin();
  weights.bias = bias.data();
  weights.slope = parameters.activation == Activation::slope ? slope.data() : nullptr;

  // Error feedback: groups are rounded in any order, and move those after them and the pixel to the right.
  std::vector<float> feedback;
  std::vector<int64_t> rank(index(inputs));
  if (whole(0, 2) == 0) {
    for (int64_t group = 0; group * daq::kFeedbackGroup < inputs; ++group) parameters.feedback_order.push_back(group);
    for (size_t i = parameters.feedback_order.size(); i > 1; --i) {
      std::swap(parameters.feedback_order[i - 1], parameters.feedback_order[index(whole(0, static_cast<int64_t>(i) - 1))]);
    }
    for (size_t i = 0; i < parameters.feedback_order.size(); ++i) {
      const int64_t first = parameters.feedback_order[i] * daq::kFeedbackGroup;
      for (int64_t c = first; c < std::min(inputs, first + daq::kFeedbackGroup); ++c) rank[index(c)] = static_cast<int64_t>(i);
    }
    const bool from_left = coin();
    for (int64_t i = 0; i < 2 * inputs * inputs; ++i) {
      const int64_t target = i / (2 * inputs), column = i % (2 * inputs);
      const bool later = column < inputs ? from_left : rank[index(target)] > rank[index(column - inputs)];
      feedback.push_back(later ? static_cast<float>(real(-0.2, 0.2)) : 0.0f);
    }
    weights.feedback = feedback.data();
  }

  const bool positive = coin();
  std::vector<float> lo(index(inputs)), step(index(inputs));
  for (int64_t i = 0; i < inputs; ++i) {
    step[index(i)] = static_cast<float>(real(0.2, 8) / highest);
    lo[index(i)] = positive ? 0.0f : static_cast<float>(real(-6, 0));
  }
  daq::ConvolutionRun run = {};
  run.height = size[0];
  run.width = size[1];
  run.lo = lo.data();
  run.step = step.data();
  run.origin = parameters.companded ? origin.data() : nullptr;
  std::vector<std::vector<uint16_t>> maps;
  for (const int64_t channels : source_channels) maps.push_back(random_map(size[0] * size[1], channels, positive));
  for (size_t s = 0; s < maps.size(); ++s) {
    run.sources.push_back(maps[s].data());
    run.strides.push_back(daq::round_up(source_channels[s], daq::kBlock));
  }

  const daq::Convolution convolution(kernels, parameters, weights);
  const int64_t height = convolution.output_height(size[0]), width = convolution.output_width(size[1]);
  const int64_t channels = convolution.output_channels(), padded = daq::round_up(channels, daq::kBlock);
  const int64_t pixels = height * width * subpixels;
  const std::vector<uint16_t> operand =
      parameters.operand == Operand::none ? std::vector<uint16_t>() : random_map(height * width, outputs, false);
  run.operand = operand.empty() ? nullptr : operand.data();
  std::vector<uint16_t> half(parameters.planar ? 0 : index(pixels * padded)), half_again(half.size());
  std::vector<float> planar(parameters.planar ? index(pixels * channels) : 0), planar_again(planar.size());
  std::vector<double> statistics(wanted ? index(6 * channels) : 0), statistics_again(statistics.size());
  const auto run_into = [&](std::vector<uint16_t>& h, std::vector<float>& f, std::vector<double>& s, const auto& parallel) {
    run.half_output = h.empty() ? nullptr : h.data();
    run.float_output = f.empty() ? nullptr : f.data();
    run.statistics = s.empty() ? nullptr : s.data();
    convolution.run(run, parallel);
  };
  run_into(half, planar, statistics, serial);
  run_into(half_again, planar_again, statistics_again, threaded);
  bool good = check(half == half_again && planar == planar_again && statistics == statistics_again,
                    "several threads give another result than one");

  // The quantized map: what each channel of each pixel stands for.
  std::vector<double> quantized(index(inputs * size[0] * size[1]));
  const int64_t area_read = size[0] * size[1];
  std::vector<double> errors(quantized.size());
  std::vector<std::pair<size_t, int64_t>> place;  // source and channel there, of each input
  for (size_t s = 0; s < maps.size(); ++s) {
    for (int64_t c = 0; c < parameters.channels[s]; ++c) place.emplace_back(s, parameters.first_channel[s] + c);
  }
  std::vector<int64_t> in_order(index(inputs));
  std::iota(in_order.begin(), in_order.end(), 0);
  std::stable_sort(in_order.begin(), in_order.end(), [&](int64_t a, int64_t b) { return rank[index(a)] < rank[index(b)]; });
  std::vector<std::vector<double>> levels_of_inputs;
  for (int64_t i = 0; i < inputs; ++i) levels_of_inputs.push_back(levels_of(parameters.bits[index(i)], origin[index(i)]));
  for (int64_t p = 0; p < area_read; ++p) {
    const bool begins_run = p % size[1] % daq::kFeedbackRun == 0;
    for (const int64_t input : in_order) {
      const double l = lo[index(input)], d = step[index(input)];
      const auto [s, c] = place[index(input)];
      const std::vector<double>& levels = levels_of_inputs[index(input)];
      double value = from_half(maps[s][index(p * run.strides[s] + c)]);
      for (int64_t other = 0; other < inputs && !feedback.empty(); ++other) {
        const float* coefficients = feedback.data() + input * 2 * inputs + other;
        if (!begins_run) value += coefficients[0] * errors[index(other * area_read + p - 1)];
        value += coefficients[inputs] * errors[index(other * area_read + p)];
      }
      const double level = nearest(levels, (value - l) / d) * d + l;
      quantized[index(input * area_read + p)] = level;
      errors[index(input * area_read + p)] = level - value;
    }
  }
  const double products = static_cast<double>(inputs * area);
  // Folded weights are rounded: eight standard deviations of the sum of their errors.
  const double relative = 8 / std::sqrt(12.0) / (parameters.exact ? 4000 : 127) * std::sqrt(products) * highest;
  for (int64_t o = 0; o < outputs && good; ++o) {
    double largest = 0;
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t t = 0; t < area; ++t) {
        const double code = codes[index((o * inputs + i) * area + t)] + (weights.mid_rise ? 0.5 : 0);
        largest = std::max(largest, std::fabs(code * weight_step[index(o)] * step[index(i)]));
      }
    }
    const int64_t channel = parameters.depth_first ? o % channels : o / subpixels;
    const int64_t subpixel = parameters.depth_first ? o / channels : o % subpixels;
    for (int64_t y = 0; y < height && good; ++y) {
      for (int64_t x = 0; x < width && good; ++x) {
        double sum = bias[index(o)];
        for (int64_t t = 0; t < area; ++t) {
          const int64_t row = y * parameters.strides[0] - parameters.pads[0] + t / kernel[1] * parameters.dilations[0];
          const int64_t column = x * parameters.strides[1] - parameters.pads[1] + t % kernel[1] * parameters.dilations[1];
          if (row < 0 || row >= size[0] || column < 0 || column >= size[1]) continue;
          for (int64_t i = 0; i < inputs; ++i) {
            const double code = codes[index((o * inputs + i) * area + t)] + (weights.mid_rise ? 0.5 : 0);
            sum += code * weight_step[index(o)] * quantized[index((i * size[0] + row) * size[1] + column)];
          }
        }
        const double other = operand.empty() ? 0 : from_half(operand[index((y * width + x) * padded + o)]);
        const Expected expected =
            finish({sum, largest * relative + 1e-4 * products * 0.01}, parameters.activation, slope[index(o)],
                   parameters.operand, parameters.operand_first, other);
        const int64_t big_y = y * parameters.blocksize + subpixel / parameters.blocksize;
        const int64_t big_x = x * parameters.blocksize + subpixel % parameters.blocksize;
        const int64_t big_width = width * parameters.blocksize;
        const double found =
            parameters.planar ? planar[index((channel * height * parameters.blocksize + big_y) * big_width + big_x)]
                              : from_half(half[index((big_y * big_width + big_x) * padded + channel)]);
        good = check(close(found, expected, !parameters.planar), "a value is wrong");
      }
    }
  }
  if (!parameters.planar) good = check(padding_is_zero(half, pixels, channels), "padding channels are not zero") && good;
  if (wanted) {
    good = check(statistics_agree(statistics, half, pixels, channels, parameters.counts_positives),
                 "statistics are not those of the values") && good;
  }
  if (!good) {
    std::printf("  sources %d, inputs %d, outputs %d, kernel %dx%d, strides %d %d, dilations %d %d, pads %d %d %d %d, input "
                "%dx%d, bits %d, mixed %d, companded %d, blocksize %d, planar %d, exact %d, activation %d, operand %d\n",
                static_cast<int>(sources), static_cast<int>(inputs), static_cast<int>(outputs), static_cast<int>(kernel[0]),
                static_cast<int>(kernel[1]), static_cast<int>(parameters.strides[0]), static_cast<int>(parameters.strides[1]),
                static_cast<int>(parameters.dilations[0]), static_cast<int>(parameters.dilations[1]),
                static_cast<int>(parameters.pads[0]), static_cast<int>(parameters.pads[1]),
                static_cast<int>(parameters.pads[2]), static_cast<int>(parameters.pads[3]), static_cast<int>(size[0]),
                static_cast<int>(size[1]), bits, mixed, parameters.companded, static_cast<int>(parameters.blocksize),
                parameters.planar, parameters.exact, static_cast<int>(parameters.activation), static_cast<int>(parameters.operand));
  }
  return good;
}

bool test_float_convolution(const daq::Kernels& kernels) {
  daq::FloatConvolutionParameters parameters = {};
  const int64_t inputs = whole(1, 4), outputs = one_of<int64_t>({1, 5, 16, 32, 50, 64});
  const int64_t kernel[2] = {one_of<int64_t>({1, 3, 5}), one_of<int64_t>({1, 3, 9})};
  int64_t size[2];
  for (int axis = 0; axis < 2; ++axis) {
    parameters.strides[axis] = whole(1, 2);
    parameters.dilations[axis] = whole(1, 2);
    parameters.pads[axis] = whole(0, 4);
    parameters.pads[axis + 2] = whole(0, 4);
    const int64_t reach = parameters.dilations[axis] * (kernel[axis] - 1) + 1;
    size[axis] = std::max<int64_t>({whole(1, 40), reach - parameters.pads[axis] - parameters.pads[axis + 2], 1});
  }
  parameters.activation = static_cast<Activation>(whole(0, 4));
  const int64_t area = kernel[0] * kernel[1];
  std::vector<float> picture(index(inputs * size[0] * size[1])), weights(index(outputs * inputs * area)), bias(index(outputs)),
      slope(index(outputs));
  for (auto* values : {&picture, &weights, &bias, &slope}) {
    for (float& value : *values) value = static_cast<float>(real(-1, 1));
  }
  const daq::FloatConvolution convolution(kernels, parameters, outputs, inputs, kernel[0], kernel[1], weights.data(),
                                          bias.data(), parameters.activation == Activation::slope ? slope.data() : nullptr);
  const daq::MapSize output = convolution.output_size(size[0], size[1]);
  const int64_t pixels = output.height * output.width;
  std::vector<uint16_t> map(index(pixels * output.padded())), map_again(map.size());
  std::vector<double> statistics(index(6 * outputs)), statistics_again(statistics.size());
  convolution.run(size[0], size[1], picture.data(), map.data(), statistics.data(), serial);
  convolution.run(size[0], size[1], picture.data(), map_again.data(), statistics_again.data(), threaded);
  bool good = check(map == map_again && statistics == statistics_again, "several threads give another result than one");
  for (int64_t o = 0; o < outputs && good; ++o) {
    for (int64_t p = 0; p < pixels && good; ++p) {
      double sum = bias[index(o)];
      for (int64_t i = 0; i < inputs; ++i) {
        for (int64_t t = 0; t < area; ++t) {
          const int64_t y = p / output.width, x = p % output.width;
          const int64_t row = y * parameters.strides[0] - parameters.pads[0] + t / kernel[1] * parameters.dilations[0];
          const int64_t column = x * parameters.strides[1] - parameters.pads[1] + t % kernel[1] * parameters.dilations[1];
          if (row < 0 || row >= size[0] || column < 0 || column >= size[1]) continue;
          sum += static_cast<double>(weights[index((o * inputs + i) * area + t)]) *
                 picture[index((i * size[0] + row) * size[1] + column)];
        }
      }
      const Expected expected = finish({sum, 1e-4}, parameters.activation, slope[index(o)], Operand::none, false, 0);
      good = check(close(from_half(map[index(p * output.padded() + o)]), expected, true), "a value is wrong");
    }
  }
  good = check(padding_is_zero(map, pixels, outputs), "padding channels are not zero") && good;
  return check(statistics_agree(statistics, map, pixels, outputs), "statistics are not those of the values") && good;
}

bool test_layouts(const daq::Kernels& kernels) {
  const daq::MapSize size = {whole(1, 70), whole(1, 20), whole(1, 40)};
  const int64_t pixels = size.height * size.width;
  std::vector<float> planar(index(size.channels * pixels)), back(planar.size());
  for (float& value : planar) value = static_cast<float>(whole(-256, 256) / 32.0);
  std::vector<uint16_t> map(index(pixels * size.padded()));
  std::vector<double> statistics(index(6 * size.channels));
  daq::to_native(kernels, size, planar.data(), map.data(), coin() ? statistics.data() : nullptr, threaded);
  daq::to_native(kernels, size, planar.data(), map.data(), statistics.data(), serial);
  daq::to_planar(kernels, size, map.data(), back.data(), threaded);
  bool good = check(planar == back, "there and back is not the same");
  good = check(padding_is_zero(map, pixels, size.channels), "padding channels are not zero") && good;
  good = check(statistics_agree(statistics, map, pixels, size.channels), "statistics of to_native are wrong") && good;
  const auto found = daq::planar_statistics(kernels, size, planar.data(), threaded);
  for (int64_t c = 0; c < size.channels; ++c) {
    const daq::ChannelStatistics& channel = found[index(c)];
    const double values[6] = {channel.count,         channel.positives, channel.total,
                              channel.total_squares, channel.minimum,   channel.maximum};
    for (int s = 0; s < 6; ++s) statistics[index(s * size.channels + c)] = values[s];
  }
  return check(statistics_agree(statistics, map, pixels, size.channels), "statistics of a planar map are wrong") && good;
}

bool test_elementwise(const daq::Kernels& kernels) {
  const daq::MapSize size = {whole(1, 70), whole(1, 20), whole(1, 40)};
  const int64_t pixels = size.height * size.width;
  const daq::ElementwiseParameters parameters = {static_cast<Activation>(whole(0, 4)), static_cast<Operand>(whole(0, 2)),
                                                 coin()};
  const std::vector<uint16_t> input = random_map(pixels, size.channels, false);
  const std::vector<uint16_t> operand = random_map(pixels, size.channels, false);
  std::vector<float> slope(index(size.channels));
  for (float& value : slope) value = static_cast<float>(real(-0.5, 1));
  std::vector<uint16_t> output(input.size());
  std::vector<double> statistics(index(6 * size.channels));
  daq::elementwise(kernels, size, parameters, parameters.activation == Activation::slope ? slope.data() : nullptr,
                   input.data(), parameters.operand == Operand::none ? nullptr : operand.data(), output.data(),
                   statistics.data(), threaded);
  bool good = true;
  for (int64_t p = 0; p < pixels && good; ++p) {
    for (int64_t c = 0; c < size.channels && good; ++c) {
      const int64_t i = p * size.padded() + c;
      const Expected expected = finish({from_half(input[index(i)]), 0}, parameters.activation, slope[index(c)],
                                       parameters.operand, parameters.operand_first, from_half(operand[index(i)]));
      good = check(close(from_half(output[index(i)]), expected, true), "a value is wrong");
    }
  }
  good = check(padding_is_zero(output, pixels, size.channels), "padding channels are not zero") && good;
  return check(statistics_agree(statistics, output, pixels, size.channels), "statistics are not those of the values") && good;
}

bool test_ranges(const daq::Kernels&) {
  daq::RangeParameters parameters = {};
  parameters.rule = one_of<daq::RangeRule>({daq::RangeRule::paper, daq::RangeRule::reference, daq::RangeRule::deploy});
  parameters.is_signed = coin();
  parameters.range_bits = one_of<int>({0, 4, 8});
  parameters.companded = parameters.rule == daq::RangeRule::deploy && coin();
  std::vector<daq::ChannelStatistics> statistics;
  for (int64_t c = whole(1, 40); c > 0; --c) {
    parameters.bits.push_back(static_cast<int>(whole(2, 8)));
    parameters.tail.push_back(real(0, 1));
    const double count = static_cast<double>(whole(1, 1000)), size = std::ldexp(1.0, static_cast<int>(whole(-40, 15)));
    const double mean = real(parameters.is_signed ? -1 : 0, 1) * size, spread = coin() ? 0 : real(0, 1) * size;
    const double minimum = parameters.is_signed ? mean - spread : std::max(mean - spread, 0.0);
    const double positives = static_cast<double>(mean + spread > 0 ? whole(1, static_cast<int64_t>(count)) : 0);
    statistics.push_back({count, positives, mean * count, (mean * mean + spread * spread) * count, minimum, mean + spread});
  }
  std::vector<float> lo(statistics.size()), step(statistics.size()), origin(statistics.size(), daq::kEvenLevels);
  daq::channel_ranges(parameters, statistics, lo.data(), step.data(), parameters.companded ? origin.data() : nullptr);
  bool good = true;
  for (size_t c = 0; c < lo.size(); ++c) {
    const bool companded = parameters.companded && daq::is_companded(parameters.bits[c]);
    const float highest = daq::highest_code_of(parameters.bits[c], origin[c]);
    good = good && std::isfinite(lo[c]) && std::isfinite(step[c]) && step[c] > 0 && (origin[c] >= 0) == companded &&
           highest <= static_cast<float>(daq::largest_code_of(parameters.bits[c], companded));
  }
  return check(good, "a range is not finite, its step not above zero, or its codes too large");
}

bool can_run(daq::Isa isa) {
#if defined(DAQ_EMULATE_TILES)
  // Tiles are emulated; the rest of that tier is AVX-512 with VBMI.
  if (isa == daq::Isa::amx) return daq::isa_available(daq::Isa::avx512_vnni) && __builtin_cpu_supports("avx512vbmi");
#endif
  return daq::isa_available(isa);
}

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 100;
  const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1;
  const std::pair<const char*, bool (*)(const daq::Kernels&)> tests[] = {{"convolution", test_convolution},
                                                                         {"float convolution", test_float_convolution},
                                                                         {"layouts", test_layouts},
                                                                         {"elementwise", test_elementwise},
                                                                         {"ranges", test_ranges}};
  for (const daq::Isa isa : {daq::Isa::portable, daq::Isa::avx2, daq::Isa::avx512_vnni, daq::Isa::amx}) {
    if (!can_run(isa)) {
      std::printf("%s is skipped: not on this processor\n", daq::isa_name(isa));
      continue;
    }
    for (const auto& [name, test] : tests) {
      for (int number = 0; number < cases; ++number) {
        generator.seed(seed * 100003 + static_cast<unsigned>(number));  // every tier gets the same cases
        current = std::string(daq::isa_name(isa)) + " " + name + " " + std::to_string(number);
        (test(daq::kernels_of(isa)) ? passed : failed) += 1;
      }
    }
    std::printf("%s done\n", daq::isa_name(isa));
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
