// The weights of a convolution for one picture: steps folded in, rounded to integers, packed for the tier.

#include <algorithm>
#include <cmath>
#include <limits>

#include "companding.h"
#include "convolution_memory.h"

namespace daq {

void Convolution::fold(const ConvolutionRun& run, const Parallel& parallel, Folded& folded) const {
  const auto size = static_cast<size_t>(round_up(padded_inputs_, kBlock) + kBlock);
  for (auto* values : {&folded.lo, &folded.inverse_step, &folded.shift, &folded.highest, &folded.origin, &folded.factors,
                       &folded.element_lo, &folded.centre}) {
    values->assign(size, 0.0f);
  }
  float largest = 0.0f;
  for (int64_t input = 0; input < inputs_; ++input) {
    const auto position = static_cast<size_t>(input_position_[static_cast<size_t>(input)]);
    largest = std::max(largest, magnitude_[position] * run.step[input]);
  }
  const int code_limit = kernels_.largest_shifted_code(largest_code_, format_);
  for (int64_t input = 0; input < inputs_; ++input) {
    const auto position = static_cast<size_t>(input_position_[static_cast<size_t>(input)]);
    const float step = run.step[input];
    // Spare bits of the codes take over powers of two from the channels whose products are largest, so that the others
    // keep precision in eight-bit weights.
    const float origin = parameters_.companded ? run.origin[input] : kEvenLevels;
    const float highest = highest_code_of(parameters_.bits[static_cast<size_t>(input)], origin);
    float shift = 1.0f;
    const float product = magnitude_[position] * step;
    int spare = 0;
    while (highest * static_cast<float>(2 << spare) <= static_cast<float>(code_limit)) ++spare;
    const float aim = std::ldexp(largest, -spare);
    while (product / shift > aim && highest * shift * 2 <= static_cast<float>(code_limit)) shift *= 2;
    folded.lo[position] = run.lo[input];
    folded.inverse_step[position] = 1.0f / step;
    folded.shift[position] = shift;
    folded.factors[position] = step / shift;
    folded.element_lo[position] = run.lo[input];
    folded.highest[position] = highest;
    folded.origin[position] = origin;
    // The code around which most lie. It must not be taken from the picture: a tile would be folded unlike the whole.
    folded.centre[position] = origin >= 0.0f ? origin * shift : (run.lo[input] == 0.0f ? 0.08f : 0.5f) * highest * shift;
  }
  folded.furthest.clear();
  for (size_t source = 0, input = 0; source < parameters_.channels.size(); ++source) {
    float furthest = 0.0f;
    for (int64_t c = 0; c < parameters_.channels[source]; ++c, ++input) {
      const auto position = static_cast<size_t>(input_position_[input]);
      const float origin = folded.origin[position];
      const float reach = std::max(origin, folded.highest[position] - origin);
      furthest = std::max(furthest, origin < 0.0f ? std::numeric_limits<float>::infinity() : reach);
    }
    folded.furthest.push_back(furthest);
  }
  if (!feedback_.empty()) fold_feedback(run, folded);
  const auto outputs = static_cast<size_t>(padded_outputs_);
  folded.scale.assign(outputs, 0.0f);
  folded.offsets.assign(static_cast<size_t>(kernel_[0] * kernel_[1]) * outputs, 0.0f);
  const int64_t step_bytes = is_by_output(format_) ? kBlock * static_cast<int64_t>(sizeof(int16_t)) : kStepBytes;
  folded.block_bytes = segments_ * steps_ * step_bytes * planes() + (paired() ? kPairCorrection : 0);
  const int64_t blocks = padded_outputs_ / kBlock;
  folded.packed = aligned<uint8_t>(folded.memory, std::max(blocks, side_blocks_) * folded.block_bytes);
  parallel(blocks, [&](int64_t block) {
    const auto band = workspace_->bands.take();
    fold_block(folded, block, *band);
  });
  folded.inner_bias = bias_;
  for (int64_t tap = 0; tap < kernel_[0] * kernel_[1]; ++tap) {
    for (size_t output = 0; output < outputs; ++output) {
      folded.inner_bias[output] += folded.offsets[static_cast<size_t>(tap) * outputs + output];
    }
  }
}

// Writes to parts of `folded` that belong to the block alone.
void Convolution::fold_block(Folded& folded, int64_t block, Band& band) const {
  std::vector<int16_t>& scratch = band.fold_scratch;
  scratch.assign(static_cast<size_t>(kBlock * segments_ * elements_), 0);
  for (int64_t lane = 0; lane < kBlock; ++lane) {
    const int64_t output = block * kBlock + lane;
    if (valid_[static_cast<size_t>(output)] == 0.0f) continue;
    const float* weights = weights_.data() + output * segments_ * elements_;
    float largest = 0.0f;
    for (int64_t index = 0; index < segments_ * products_; ++index) {
      largest = std::max(largest,
                         kernels_.largest_product(weights + index * padded_inputs_, folded.factors.data(), padded_inputs_));
    }
    // Zero weights, or products that are not normal numbers, take any scale.
    const float scale = std::max(largest / static_cast<float>(largest_weight_), 1e-30f);
    folded.scale[static_cast<size_t>(output)] = scale;
    // Neighbouring codes are much alike, and so is what they are multiplied with: the error of one tap is made up for by the
    // next. Of a pair's products only the sum d1 + d2 is alike in the next kernel row; differences are small.
    band.carry.assign(static_cast<size_t>(padded_inputs_), 0.0f);
    band.offsets.assign(static_cast<size_t>(segments_ * products_), 0.0f);
    for (int64_t index = 0; index < segments_ * products_; ++index) {
      if (paired() && (index / segments_ != 1 || index == segments_)) std::fill(band.carry.begin(), band.carry.end(), 0.0f);
      kernels_.fold(weights + index * padded_inputs_, folded.factors.data(), folded.element_lo.data(), folded.centre.data(),
                    scale, padded_inputs_, largest_weight_, band.carry.data(),
                    scratch.data() + (lane * segments_ * products_ + index) * padded_inputs_,
                    band.offsets.data() + index);
    }
    for (int64_t tap = 0; tap < segments_ * taps_; ++tap) {
      float offset = band.offsets[static_cast<size_t>(tap)];
      if (paired()) {
        const auto of = [&](int64_t product) { return band.offsets[static_cast<size_t>(product * segments_ + tap / taps_)]; };
        const float outer[3] = {of(0), 2 * of(1) - of(0) - of(3), of(3)};
        offset = outer[tap % taps_];
      }
      folded.offsets[static_cast<size_t>(tap * padded_outputs_ + output)] = offset;
    }
  }
  if (side_blocks_ > 0) return pack_side_by_side(folded, band);
  kernels_.pack(scratch.data(), static_cast<int>(segments_), paired() ? padded_inputs_ : elements_, steps_, format_,
                folded.packed + block * folded.block_bytes);
}

// The taps of a kernel row as output channels of their own: channel kx * outputs + o.
void Convolution::pack_side_by_side(Folded& folded, Band& band) const {
  std::vector<int16_t>& side = band.side_weights;
  side.resize(static_cast<size_t>(kBlock * segments_ * padded_inputs_));
  band.side_packed.resize(static_cast<size_t>(folded.block_bytes));
  // The high planes of all blocks go before the low ones, so that the sums of all taps of a pixel and a plane lie side by side.
  const int64_t planes = this->planes(), plane_bytes = folded.block_bytes / planes;
  for (int64_t block = 0; block < side_blocks_; ++block) {
    std::fill(side.begin(), side.end(), int16_t{0});
    for (int64_t lane = 0; lane < kBlock; ++lane) {
      const int64_t kx = (block * kBlock + lane) / outputs_, output = (block * kBlock + lane) % outputs_;
      if (kx >= kernel_[1]) break;
      for (int64_t segment = 0; segment < segments_; ++segment) {
        std::copy_n(band.fold_scratch.begin() + (output * segments_ + segment) * elements_ + kx * padded_inputs_, padded_inputs_,
                    side.begin() + (lane * segments_ + segment) * padded_inputs_);
      }
    }
    kernels_.pack(side.data(), static_cast<int>(segments_), padded_inputs_, steps_, format_, band.side_packed.data());
    for (int64_t plane = 0; plane < planes; ++plane) {
      std::copy_n(band.side_packed.begin() + plane * plane_bytes, plane_bytes,
                  folded.packed + (plane * side_blocks_ + block) * plane_bytes);
    }
  }
}

}  // namespace daq
