#include "convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "companding.h"
#include "convolution_memory.h"

namespace daq {

Convolution::Convolution(const Kernels& kernels, const ConvolutionParameters& parameters, const ConvolutionWeights& weights)
    : kernels_(kernels),
      parameters_(parameters),
      inputs_(weights.inputs),
      outputs_(weights.outputs),
      workspace_(Workspace::shared()) {
  kernel_[0] = weights.kernel[0];
  kernel_[1] = weights.kernel[1];
  const int64_t subpixels = parameters.blocksize * parameters.blocksize;
  if (parameters.blocksize < 1 || outputs_ % subpixels != 0) {
    throw std::invalid_argument("blocksize does not divide the output channels");
  }
  if (subpixels > 1 && parameters.operand != Operand::none) {
    throw std::invalid_argument("an operand cannot be combined with blocksize");
  }
  channels_ = outputs_ / subpixels;
  padded_channels_ = round_up(channels_, kBlock);
  groups_ = parameters.planar ? 1 : subpixels;
  padded_outputs_ = parameters.planar ? round_up(outputs_, kBlock) : subpixels * padded_channels_;

  for (size_t source = 0; source < parameters.channels.size(); ++source) {
    const int64_t position = source == 0 ? 0 : round_up(input_position_.back() + 1, 4);
    for (int64_t c = 0; c < parameters.channels[source]; ++c) input_position_.push_back(position + c);
  }
  if (static_cast<int64_t>(input_position_.size()) != inputs_ || parameters.bits.size() != input_position_.size()) {
    throw std::invalid_argument("channels of the sources, bits and weights do not agree");
  }
  padded_inputs_ = round_up(input_position_.back() + 1, 4);

  taps_ = parameters.dilations[1] == 1 ? kernel_[1] : 1;  // of a segment
  segments_ = kernel_[0] * (kernel_[1] / taps_);
  // Few output channels leave most of a block idle: the taps of a kernel row take the idle places.
  side_blocks_ = round_up(outputs_ * kernel_[1], kBlock) / kBlock;
  const bool side_by_side = parameters.planar && padded_outputs_ == kBlock && taps_ == kernel_[1] &&
                            parameters.strides[1] == 1 && side_blocks_ * 2 <= std::min<int64_t>(kernel_[1], kBlocksTogether);
  if (!side_by_side) side_blocks_ = 0;

  for (const int bits : parameters.bits) largest_code_ = std::max(largest_code_, largest_code_of(bits, parameters.companded));
  format_ = kernels.format(largest_code_, parameters.exact, side_by_side || parameters.strides[1] != 1 ? 1 : taps_);
  products_ = paired() ? kPairProducts : taps_;
  // Pixels of codes are wider where that costs no step: what does not cross lines of memory is read faster.
  const int64_t products = side_by_side ? 1 : products_;
  const auto steps_of = [&](int64_t channels) { return kernels.steps(products * channels, format_); };
  for (const int64_t multiple : {16, 32, 64}) {
    const int64_t wider = round_up(padded_inputs_, multiple);
    if (steps_of(wider) == steps_of(padded_inputs_)) padded_inputs_ = wider;
  }
  elements_ = products_ * padded_inputs_;
  largest_weight_ =
      kernels.largest_weight(kernels.largest_shifted_code(largest_code_, format_), inputs_ * kernel_[0] * kernel_[1], format_);
  code_bytes_ = is_words(format_) ? 2 : 1;
  // Whole blocks of codes are written faster. Where a segment is a run of several taps, there is no room between them.
  const bool apart = paired() || taps_ == 1;
  code_stride_ = (apart ? round_up(padded_inputs_, kBlock) : padded_inputs_) * code_bytes_;
  pixel_bytes_ = paired() ? padded_inputs_ * (kPairProducts / 2) : code_stride_;
  steps_ = steps_of(padded_inputs_);
  if (kernels.single_steps) pointers_ = steps_ / (paired() ? kPairProducts : 1);
  if (side_by_side) {
    side_valid_.assign(static_cast<size_t>(side_blocks_ * kBlock), 0.0f);
    std::fill_n(side_valid_.begin(), outputs_ * kernel_[1], 1.0f);
  }

  if (weights.feedback != nullptr) take_feedback(weights.feedback);

  for (int64_t output = 0; output < outputs_; ++output) {
    int64_t position = output;
    if (groups_ > 1) {
      const int64_t channel = parameters.depth_first ? output % channels_ : output / subpixels;
      const int64_t subpixel = parameters.depth_first ? output / channels_ : output % subpixels;
      position = subpixel * padded_channels_ + channel;
    }
    output_position_.push_back(position);
  }

  const auto outputs = static_cast<size_t>(padded_outputs_), inputs = static_cast<size_t>(padded_inputs_);
  weights_.assign(outputs * static_cast<size_t>(segments_ * elements_), 0.0f);
  magnitude_.assign(inputs, 0.0f);
  bias_.assign(outputs, 0.0f);
  slope_.assign(outputs, 1.0f);
  valid_.assign(outputs, 0.0f);
  const int64_t area = kernel_[0] * kernel_[1];
  for (int64_t output = 0; output < outputs_; ++output) {
    const int64_t row = output_position_[static_cast<size_t>(output)];
    bias_[static_cast<size_t>(row)] = weights.bias[output];
    valid_[static_cast<size_t>(row)] = 1.0f;
    if (weights.slope != nullptr) slope_[static_cast<size_t>(row)] = weights.slope[output];
    for (int64_t input = 0; input < inputs_; ++input) {
      const int64_t position = input_position_[static_cast<size_t>(input)];
      for (int64_t tap = 0; tap < area; ++tap) {
        const float code = weights.codes[(output * inputs_ + input) * area + tap];
        // As DequantizeLinear and Add of half a step do it.
        const float level = code * weights.step[output];
        const float weight = weights.mid_rise ? level + weights.step[output] / 2 : level;
        add_weight(row, tap, position, weight);
        float& magnitude = magnitude_[static_cast<size_t>(position)];
        magnitude = std::max(magnitude, std::fabs(weight));
      }
    }
  }
}

Convolution::~Convolution() = default;

std::shared_ptr<Convolution::Workspace> Convolution::Workspace::shared() {
  static std::mutex mutex;
  static std::weak_ptr<Workspace> last;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Workspace> workspace = last.lock();
  if (workspace == nullptr) last = workspace = std::make_shared<Workspace>();
  return workspace;
}

// Puts a weight, or what it adds to those of a pair's products, into `weights_`.
void Convolution::add_weight(int64_t row, int64_t tap, int64_t position, float weight) {
  const int64_t segment = tap / taps_, column = tap % taps_;
  const auto place = [&](int64_t product) -> float& {
    const int64_t index = paired() ? product * segments_ + segment : segment * products_ + product;
    return weights_[static_cast<size_t>((row * segments_ * products_ + index) * padded_inputs_ + position)];
  };
  if (!paired()) {
    place(column) = weight;
    return;
  }
  place(1) += weight / 2;
  place(2) += column == 1 ? -weight / 2 : weight / 2;
  if (column != 1) place(column == 0 ? 0 : 3) = weight;
}

int64_t Convolution::output_height(int64_t height) const { return convolved_size(parameters_, 0, height, kernel_[0]); }

int64_t Convolution::output_width(int64_t width) const { return convolved_size(parameters_, 1, width, kernel_[1]); }

// Sums of every column of a row of codes with every tap of the kernel rows by itself.
void Convolution::sum_side_by_side(const Folded& folded, int64_t width, Band& band) const {
  const int blocks = static_cast<int>(side_blocks_) * planes();
  const Accumulation accumulation = accumulation_of(folded, pixel_bytes_, side_valid_, band);
  const int64_t columns = width + kernel_[1] - 1;
  for (int64_t x = 0; x < columns; x += kernels_.chunk) {
    const int pixels = static_cast<int>(std::min<int64_t>(kernels_.chunk, columns - x));
    kernels_.accumulate(accumulation, format_, x, pixels, 0, blocks, band.side_sums + x * blocks * kBlock);
  }
}

// What `accumulate` would have given for a chunk: tap kx comes from kx columns further.
void Convolution::add_taps(const Chunk& chunk, Band& band) const {
  typedef int32_t Four __attribute__((vector_size(16)));
  const int64_t planes = this->planes(), lanes = side_blocks_ * kBlock, stride = planes * lanes;
  const int64_t taps = kernel_[1], next = stride + outputs_;
  for (int64_t plane = 0; plane < planes; ++plane) {
    // Nobody reads what is past the last output.
    for (int64_t output = 0; output < outputs_; output += 4) {
      const int32_t* column = band.side_sums + chunk.x * stride + plane * lanes + output;
      int32_t* sums = band.sums + plane * kBlock + output;
      for (int64_t p = 0; p < chunk.pixels; ++p, column += stride, sums += planes * kBlock) {
        Four sum = {};
        for (int64_t kx = 0; kx < taps; ++kx) {
          Four tap;
          std::memcpy(&tap, column + kx * next, sizeof(tap));
          sum += tap;
        }
        std::memcpy(sums, &sum, sizeof(sum));
      }
    }
  }
}

void Convolution::run(const ConvolutionRun& run, const Parallel& parallel) const {
  const auto folded = workspace_->folded.take();
  folded->run = ++workspace_->runs;
  fold(run, parallel, *folded);
  const int64_t height = output_height(run.height), width = output_width(run.width);
  const int64_t bands = band_count(height);
  const auto statistics = statistics_.take();
  statistics->resize(static_cast<size_t>(bands));
  parallel(bands, [&](int64_t index) {
    const int64_t first_row = band_start(height, index);
    const auto band = workspace_->bands.take([&](const Band& other) { return other.continues(*folded, first_row); });
    BandStatistics* gathered = run.statistics == nullptr ? nullptr : &(*statistics)[static_cast<size_t>(index)];
    if (gathered != nullptr) gathered->begin(padded_outputs_, parameters_.counts_positives);
    run_band(run, *folded, first_row, band_start(height, index + 1), *band, gathered);
    kernels_.leave();
  });
  if (run.statistics != nullptr) {
    const int64_t count = height * width * parameters_.blocksize * parameters_.blocksize;
    merge_statistics(*statistics, count, channels_, padded_channels_, groups_, run.statistics);
  }
}

void Convolution::quantize_pixels(const ConvolutionRun& run, const Folded& folded, int64_t row, int64_t x, int64_t count,
                                  uint8_t* codes, Band& band) const {
  if (!feedback_.empty()) return quantize_with_feedback(run, folded, row, x, count, codes, band);
  int64_t input = 0;
  for (size_t source = 0; source < run.sources.size(); ++source) {
    const int64_t position = input_position_[static_cast<size_t>(input)];
    const Quantizer quantizer = {parameters_.channels[source], folded.lo.data() + position,
                                 folded.inverse_step.data() + position, folded.highest.data() + position,
                                 parameters_.companded ? folded.origin.data() + position : nullptr,
                                 folded.shift.data() + position, position == 0, folded.furthest[source]};
    const int64_t stride = run.strides[source];
    const uint16_t* pixels = run.sources[source] + (row * run.width + x) * stride + parameters_.first_channel[source];
    kernels_.quantize(quantizer, pixels, stride, stride - parameters_.first_channel[source], count, format_,
                      codes + position * code_bytes_, code_stride_);
    input += parameters_.channels[source];
  }
}

// Quantizes a row as far as `column`: piece by piece, codes are still in a near cache when they are multiplied.
void Convolution::quantize_until(const ConvolutionRun& run, const Folded& folded, int64_t column, NewRow& row,
                                 Band& band) const {
  const int64_t whole = feedback_run_ == 1 ? column : round_up(column, feedback_run_ * kFeedbackPixels);
  const int64_t stop = std::min(whole, run.width);
  if (stop <= row.quantized) return;
  quantize_pixels(run, folded, row.row, row.quantized, stop - row.quantized, row.codes + row.quantized * pixel_bytes_,
                  band);
  row.quantized = stop;
}

}  // namespace daq
