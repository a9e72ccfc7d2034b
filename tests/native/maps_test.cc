// What is no quantized convolution: float convolutions, layouts, element-wise operators, maps of another size, ranges.

#include "companding.h"
#include "maps.h"
#include "range.h"
#include "resampling.h"
#include "test_support.h"

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
  Halves map(index(pixels * output.padded())), map_again(map.size());
  std::vector<double> statistics(index(6 * outputs)), statistics_again(statistics.size());
  convolution.run(size[0], size[1], picture.data(), map.data(), statistics.data(), serial);
  convolution.run(size[0], size[1], picture.data(), map_again.data(), statistics_again.data(), threaded);
  bool good = check(map == map_again && statistics == statistics_again, "several threads give another result than one");
  std::vector<double> values(index(pixels * outputs));
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
      values[index(p * outputs + o)] = expected.value;
    }
  }
  good = good && check(padding_is_zero(map, pixels, outputs), "padding channels are not zero");
  return good && check(statistics_agree(statistics, map, values, 1e-5, pixels, outputs), "statistics are not those of the values");
}

bool test_layouts(const daq::Kernels& kernels) {
  const daq::MapSize size = {whole(1, 70), whole(1, 20), whole(1, 40)};
  const int64_t pixels = size.height * size.width;
  std::vector<float> planar(index(size.channels * pixels)), back(planar.size());
  for (float& value : planar) value = static_cast<float>(whole(-256, 256) / 32.0);
  Halves map(index(pixels * size.padded()));
  std::vector<double> statistics(index(6 * size.channels));
  daq::to_native(kernels, size, planar.data(), map.data(), coin() ? statistics.data() : nullptr, threaded);
  daq::to_native(kernels, size, planar.data(), map.data(), statistics.data(), serial);
  daq::to_planar(kernels, size, map.data(), back.data(), threaded);
  bool good = check(planar == back, "there and back is not the same");
  good = check(padding_is_zero(map, pixels, size.channels), "padding channels are not zero") && good;
  const std::vector<double> values = values_of(map, pixels, size.channels);
  good = check(statistics_agree(statistics, map, values, 0, pixels, size.channels), "statistics of to_native are wrong") && good;
  const auto found = daq::planar_statistics(kernels, size, planar.data(), threaded);
  for (int64_t c = 0; c < size.channels; ++c) {
    const daq::ChannelStatistics& channel = found[index(c)];
    const double six[6] = {channel.count,         channel.positives, channel.total,
                           channel.total_squares, channel.minimum,   channel.maximum};
    for (int s = 0; s < 6; ++s) statistics[index(s * size.channels + c)] = six[s];
  }
  return check(statistics_agree(statistics, map, values, 0, pixels, size.channels), "statistics of a planar map are wrong") && good;
}

bool test_elementwise(const daq::Kernels& kernels) {
  const daq::MapSize size = {whole(1, 70), whole(1, 20), whole(1, 40)};
  const int64_t pixels = size.height * size.width;
  const daq::ElementwiseParameters parameters = {static_cast<Activation>(whole(0, 4)), static_cast<Operand>(whole(0, 2)),
                                                 coin()};
  const Halves input = random_map(pixels, size.channels, false);
  const Halves operand = random_map(pixels, size.channels, false), gate = random_map(1, size.channels, false);
  const bool gated = coin();
  std::vector<float> slope(index(size.channels));
  for (float& value : slope) value = static_cast<float>(real(-0.5, 1));
  Halves output(input.size());
  std::vector<double> statistics(index(6 * size.channels));
  daq::elementwise(kernels, size, parameters, parameters.activation == Activation::slope ? slope.data() : nullptr,
                   input.data(), parameters.operand == Operand::none ? nullptr : operand.data(),
                   gated ? gate.data() : nullptr, output.data(), statistics.data(), threaded);
  Halves over = coin() || parameters.operand == Operand::none ? input : operand;  // a copy that is written over
  const bool of_input = over == input;
  daq::elementwise(kernels, size, parameters, parameters.activation == Activation::slope ? slope.data() : nullptr,
                   of_input ? over.data() : input.data(),
                   parameters.operand == Operand::none ? nullptr : of_input ? operand.data() : over.data(),
                   gated ? gate.data() : nullptr, over.data(), nullptr, serial);
  bool good = check(over == output, "written over what is read, it is another map");
  std::vector<double> values;
  for (int64_t p = 0; p < pixels && good; ++p) {
    for (int64_t c = 0; c < size.channels && good; ++c) {
      const int64_t i = p * size.padded() + c;
      const double value = from_half(input[index(i)]) * (gated ? static_cast<double>(from_half(gate[index(c)])) : 1.0);
      const Expected expected = finish({value, 1e-7 * std::abs(value)}, parameters.activation, slope[index(c)],
                                       parameters.operand, parameters.operand_first, from_half(operand[index(i)]));
      good = check(close(from_half(output[index(i)]), expected, true), "a value is wrong");
      values.push_back(expected.value);
    }
  }
  good = good && check(padding_is_zero(output, pixels, size.channels), "padding channels are not zero");
  return good && check(statistics_agree(statistics, output, values, 1e-5, pixels, size.channels),
                       "statistics are not those of the values");
}

// What each pixel is made of is compared with ONNX Runtime's in tests/runtime/native; here it is a whole multiple, or a window.
bool test_resampling(const daq::Kernels& kernels) {
  const daq::MapSize input = {whole(1, 70), whole(1, 20), whole(1, 40)};
  const Halves map = random_map(input.height * input.width, input.channels, false);
  const bool pools = coin();
  daq::PoolParameters pool = {};
  const float scale[2] = {static_cast<float>(whole(1, 4)), static_cast<float>(whole(1, 4))};
  daq::MapSize output = {input.channels, input.height * static_cast<int64_t>(scale[0]),
                         input.width * static_cast<int64_t>(scale[1])};
  if (pools) {
    const int64_t size[2] = {input.height, input.width};
    int64_t result[2];
    for (int axis = 0; axis < 2; ++axis) {
      pool.kernel[axis] = whole(1, size[axis]);
      pool.strides[axis] = whole(1, 3);
      pool.dilations[axis] = 1;
      for (int side : {axis, axis + 2}) pool.pads[side] = whole(0, pool.kernel[axis] - 1);
      result[axis] = daq::convolved_size(pool, axis, size[axis], pool.kernel[axis]);
    }
    output = {input.channels, result[0], result[1]};
  }
  const int64_t pixels = output.height * output.width;
  Halves found(index(pixels * output.padded())), again(found.size());
  std::vector<double> statistics(index(6 * output.channels)), none(statistics.size());
  const auto run = [&](Halves& target, double* gathered, const daq::Parallel& parallel) {
    if (pools) return daq::max_pool(kernels, input, output, pool, map.data(), target.data(), gathered, parallel);
    const daq::ResizeParameters nearest = {false, daq::Coordinates::asymmetric, daq::Nearest::floor};
    daq::resize(kernels, input, output, scale, nearest, map.data(), target.data(), gathered, parallel);
  };
  run(found, statistics.data(), serial);
  run(again, coin() ? none.data() : nullptr, threaded);
  bool good = check(found == again, "several threads give another result than one");
  std::vector<double> values;
  for (int64_t p = 0; p < pixels && good; ++p) {
    const int64_t y = p / output.width, x = p % output.width;
    const int64_t top = pools ? y * pool.strides[0] - pool.pads[0] : y / static_cast<int64_t>(scale[0]);
    const int64_t left = pools ? x * pool.strides[1] - pool.pads[1] : x / static_cast<int64_t>(scale[1]);
    const int64_t height = pools ? pool.kernel[0] : 1, width = pools ? pool.kernel[1] : 1;
    for (int64_t c = 0; c < output.channels && good; ++c) {
      double largest = -1e9;
      for (int64_t row = std::max<int64_t>(top, 0); row < std::min(top + height, input.height); ++row) {
        for (int64_t column = std::max<int64_t>(left, 0); column < std::min(left + width, input.width); ++column) {
          const float value = from_half(map[index((row * input.width + column) * input.padded() + c)]);
          largest = std::max(largest, static_cast<double>(value));
        }
      }
      good = check(from_half(found[index(p * output.padded() + c)]) == static_cast<float>(largest), "a value is wrong");
      values.push_back(largest);
    }
  }
  good = good && check(padding_is_zero(found, pixels, output.channels), "padding channels are not zero");
  return good && check(statistics_agree(statistics, found, values, 0, pixels, output.channels),
                       "statistics are not those of the values");
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
