// The quantized convolution against its definition in double precision.

#include <memory>
#include <numeric>

#include "companding.h"
#include "convolution.h"
#include "test_support.h"

namespace {

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

constexpr double kTie = 1e-4;  // of a step: codes so near to a rounding boundary may fall to either side

double nearest(const std::vector<double>& levels, double position) {
  return *std::min_element(levels.begin(), levels.end(), [position](double a, double b) {
    return std::fabs(a - position) < std::fabs(b - position);
  });
}

}  // namespace

bool test_convolution(const daq::Kernels& tier) {
  daq::Kernels kernels = tier;
  if (coin()) kernels.cached_bytes = 0;  // so that small maps are written past the caches, too
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
  const bool wide = whole(0, 15) == 0;  // rows of several chunks, in all tiers
  int64_t size[2] = {whole(1, wide ? 3 : 24), wide ? daq::kLargestChunk + 15 : one_of<int64_t>({1, 2, 7, 16, 31, 33, 70, 130})};
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t reach = parameters.dilations[axis] * (kernel[axis] - 1) + 1;
    size[axis] = std::max<int64_t>(size[axis], reach - parameters.pads[axis] - parameters.pads[axis + 2]);
    size[axis] = std::max<int64_t>(size[axis], 1);
  }
  parameters.blocksize = one_of<int64_t>({1, 1, 1, 2, 3, 4});
  parameters.depth_first = coin();
  const bool body = whole(0, 2) == 0;  // what most layers of a network are: tiers have loops for that alone
  parameters.planar = !body && whole(0, 3) == 0;
  const bool wanted = !parameters.planar && (body || coin());  // statistics
  parameters.counts_positives = coin();
  parameters.exact = !body && coin();
  parameters.activation = static_cast<Activation>(whole(0, body ? 2 : 4));
  parameters.operand =
      parameters.blocksize > 1 || parameters.planar ? Operand::none : static_cast<Operand>(whole(0, body ? 1 : 2));
  parameters.operand_first = coin();
  const int64_t subpixels = parameters.blocksize * parameters.blocksize;
  const int64_t outputs = subpixels > 1 ? subpixels * whole(1, subpixels > 9 ? 5 : 20)
                          : body          ? one_of<int64_t>({32, 50, 64, 80})
                                          : one_of<int64_t>({1, 3, 12, 16, 17, 32, 50, 64, 70, 80});

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
  std::vector<Halves> maps;
  for (const int64_t channels : source_channels) maps.push_back(random_map(size[0] * size[1], channels, positive));
  for (size_t s = 0; s < maps.size(); ++s) {
    run.sources.push_back(maps[s].data());
    run.strides.push_back(daq::round_up(source_channels[s], daq::kBlock));
  }

  // The convolution of the last case, of other shapes, leaves its working memory to this one; or none is there, so that
  // whatever is read past the end of what is needed is noticed.
  static std::shared_ptr<const daq::Convolution> last;
  if (coin()) last = nullptr;
  const auto convolution = std::make_shared<const daq::Convolution>(kernels, parameters, weights);
  last = convolution;
  const int64_t height = convolution->output_height(size[0]), width = convolution->output_width(size[1]);
  const int64_t channels = convolution->output_channels(), padded = daq::round_up(channels, daq::kBlock);
  const int64_t pixels = height * width * subpixels;
  const Halves operand =
      parameters.operand == Operand::none ? Halves() : random_map(height * width, outputs, false);
  run.operand = operand.empty() ? nullptr : operand.data();
  Halves half(parameters.planar ? 0 : index(pixels * padded)), half_again(half.size());
  std::vector<float> planar(parameters.planar ? index(pixels * channels) : 0), planar_again(planar.size());
  std::vector<double> statistics(wanted ? index(6 * channels) : 0), statistics_again(statistics.size());
  const auto run_into = [&](Halves& h, std::vector<float>& f, std::vector<double>& s, const auto& parallel) {
    run.half_output = h.empty() ? nullptr : h.data();
    run.float_output = f.empty() ? nullptr : f.data();
    run.statistics = s.empty() ? nullptr : s.data();
    convolution->run(run, parallel);
  };
  run_into(half, planar, statistics, serial);
  const bool in_place = !half.empty() && !operand.empty() && coin();
  if (in_place) half_again = operand;
  run.operand = in_place ? half_again.data() : run.operand;
  run_into(half_again, planar_again, statistics_again, threaded);
  run.operand = operand.empty() ? nullptr : operand.data();
  bool good = check(half == half_again && planar == planar_again && statistics == statistics_again,
                    "several threads, or an output over the operand, give another result");

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
  std::vector<bool> at_tie(index(area_read));  // pixels with a code that may be another, as may those it moves
  for (int64_t p = 0; p < area_read; ++p) {
    const bool begins_run = p % size[1] % daq::kFeedbackRun == 0;
    at_tie[index(p)] = !begins_run && !feedback.empty() && at_tie[index(p - 1)];
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
      const double position = (value - l) / d, level = nearest(levels, position) * d + l;
      if (nearest(levels, position - kTie) != nearest(levels, position + kTie)) at_tie[index(p)] = true;
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
        bool certain = true;
        for (int64_t t = 0; t < area; ++t) {
          const int64_t row = y * parameters.strides[0] - parameters.pads[0] + t / kernel[1] * parameters.dilations[0];
          const int64_t column = x * parameters.strides[1] - parameters.pads[1] + t % kernel[1] * parameters.dilations[1];
          if (row < 0 || row >= size[0] || column < 0 || column >= size[1]) continue;
          certain = certain && !at_tie[index(row * size[1] + column)];
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
        good = check(!certain || close(found, expected, !parameters.planar), "a value is wrong");
      }
    }
  }
  if (!parameters.planar) good = check(padding_is_zero(half, pixels, channels), "padding channels are not zero") && good;
  if (wanted) {
    // Before they are rounded; but a planar map has sums of its own where it has no more than one block of channels.
    std::vector<double> values = values_of(half, pixels, channels);
    double largest = 0;
    for (const double value : values) largest = std::max(largest, std::fabs(value));
    const bool known = outputs > daq::kBlock;
    if (known) {
      daq::ConvolutionParameters in_planes = parameters;
      in_planes.planar = true;
      std::vector<float> unrounded(values.size());
      run.half_output = nullptr;
      run.float_output = unrounded.data();
      run.statistics = nullptr;
      daq::Convolution(kernels, in_planes, weights).run(run, serial);
      for (int64_t i = 0; i < pixels * channels; ++i) values[index(i)] = unrounded[index(i % channels * pixels + i / channels)];
    }
    good = check(statistics_agree(statistics, half, values, known ? 0 : largest / 2048, pixels, channels,
                                  parameters.counts_positives),
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
