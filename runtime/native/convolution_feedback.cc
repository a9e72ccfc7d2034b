// Error feedback: what a group of channels lost is made good by those rounded after it, and by the pixel to the right.

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "convolution_memory.h"

namespace daq {

void Convolution::take_feedback(const float* coefficients) {
  feedback_.assign(coefficients, coefficients + 2 * inputs_ * inputs_);
  for (int64_t target = 0; target < inputs_; ++target) {
    const float* from_left = coefficients + target * 2 * inputs_;
    if (std::any_of(from_left, from_left + inputs_, [](float value) { return value != 0.0f; })) feedback_run_ = kFeedbackRun;
  }
  for (const int64_t group : parameters_.feedback_order) {
    if (group < 0 || group * kFeedbackGroup >= inputs_) throw std::invalid_argument("feedback_order has no such group");
    first_of_group_.push_back(group * kFeedbackGroup);
  }
  std::vector<int64_t> sorted = first_of_group_;
  std::sort(sorted.begin(), sorted.end());
  const bool twice = std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
  if (twice || static_cast<int64_t>(sorted.size()) * kFeedbackGroup < inputs_) {
    throw std::invalid_argument("feedback_order must have each group once");
  }
}

// The quantizer's constants in the order of rounding, and coefficients in steps of the channels.
void Convolution::fold_feedback(const ConvolutionRun& run, Folded& folded) const {
  const size_t size = first_of_group_.size() * 2 * kFeedbackGroup;
  const auto gather = [&](const std::vector<float>& of_positions, std::vector<float>& of_groups) {
    of_groups.assign(size, 0.0f);
    for (size_t i = 0; i < size; ++i) {
      const int64_t channel = first_of_group_[i / (2 * kFeedbackGroup)] + static_cast<int64_t>(i) % kFeedbackGroup;
      if (channel < inputs_) of_groups[i] = of_positions[static_cast<size_t>(input_position_[static_cast<size_t>(channel)])];
    }
  };
  gather(folded.lo, folded.group_lo);
  gather(folded.inverse_step, folded.group_inverse_step);
  gather(folded.highest, folded.group_highest);
  gather(folded.origin, folded.group_origin);
  gather(folded.shift, folded.group_shift);
  folded.coefficients.clear();
  // Where a group stands in the order of rounding, and the channel at a place of it.
  const auto channel_at = [&](size_t group, size_t place) { return first_of_group_[group] + static_cast<int64_t>(place); };
  const auto add_row = [&](size_t target_group, size_t targets, size_t source_group, size_t place, bool to_the_left) {
    const int64_t source = channel_at(source_group, place), column = to_the_left ? source : inputs_ + source;
    for (size_t i = 0; i < targets * kFeedbackGroup; ++i) {
      const int64_t target = channel_at(target_group + i / kFeedbackGroup, i % kFeedbackGroup);
      const bool padding = source >= inputs_ || target >= inputs_;
      folded.coefficients.push_back(
          padding ? 0.0f : feedback_[static_cast<size_t>(target * 2 * inputs_ + column)] * run.step[source] / run.step[target]);
    }
  };
  const size_t groups = first_of_group_.size();
  for (size_t group = 0, targets = groups % 2 == 1 ? 1 : 2; group < groups; group += targets, targets = 2) {
    // Of the pixel to the left all groups, of this one those before.
    const auto add_groups = [&](size_t first, size_t end, size_t target, size_t count, bool to_the_left) {
      for (size_t source = first; source < end; ++source) {
        for (size_t place = 0; place < kFeedbackGroup; ++place) add_row(target, count, source, place, to_the_left);
      }
    };
    add_groups(0, feedback_run_ > 1 ? groups : 0, group, targets, true);
    add_groups(0, group, group, targets, false);
    if (targets == 2) add_groups(group, group + 1, group + 1, 1, false);
  }
}

// From a column on where a span begins, and to the end of one or of the row.
void Convolution::quantize_with_feedback(const ConvolutionRun& run, const Folded& folded, int64_t row, int64_t x,
                                         int64_t count, uint8_t* codes, Band& band) const {
  const int64_t channels = static_cast<int64_t>(first_of_group_.size()) * kFeedbackGroup;
  const FeedbackQuantizer quantizer = {channels,
                                       first_of_group_.data(),
                                       folded.group_lo.data(),
                                       folded.group_inverse_step.data(),
                                       folded.group_highest.data(),
                                       folded.group_origin.data(),
                                       folded.group_shift.data(),
                                       feedback_run_ > 1 ? channels : 0,
                                       folded.coefficients.data(),
                                       parameters_.companded};
  const auto size = static_cast<size_t>(channels * kFeedbackPixels);
  band.pixels.resize(size);  // what lies in the padding of the last group is finite, and its inverse_step is zero
  band.errors.resize(2 * size);
  band.codes.resize(size * static_cast<size_t>(code_bytes_));
  // Channels that fill up the last group are padding of the map and of the codes there.
  const bool where_they_are = run.sources.size() == 1 && parameters_.first_channel[0] == 0 &&
                              run.strides[0] >= channels && code_stride_ >= channels * code_bytes_;
  // Calls `copy` for each pixel at `place` of a run and each source: run, pixel, source, its channels' first input.
  const auto for_sources = [&](int64_t place, auto copy) {
    for (int64_t p = 0; p < kFeedbackPixels && place + p * feedback_run_ < count; ++p) {
      int64_t input = 0;
      for (size_t source = 0; source < run.sources.size(); ++source) {
        copy(p, place + p * feedback_run_, source, input);
        input += parameters_.channels[source];
      }
    }
  };
  const int64_t span = feedback_run_ * kFeedbackPixels;
  for (int64_t first = 0; first < count; first += span) {
    for (int64_t x_of_run = 0; x_of_run < feedback_run_; ++x_of_run) {
      const int64_t place = first + x_of_run;
      float* errors = band.errors.data() + x_of_run % 2 * static_cast<int64_t>(size);
      const float* left = x_of_run == 0 ? nullptr : band.errors.data() + (x_of_run + 1) % 2 * static_cast<int64_t>(size);
      if (where_they_are && first + span <= count) {
        const uint16_t* source = run.sources[0] + (row * run.width + x + place) * run.strides[0];
        kernels_.quantize_groups(quantizer, source, run.strides[0] * feedback_run_, format_, left, errors,
                                 codes + place * code_stride_, code_stride_ * feedback_run_);
        continue;
      }
      for_sources(place, [&](int64_t p, int64_t pixel, size_t source, int64_t input) {
        const uint16_t* from = run.sources[source] + (row * run.width + x + pixel) * run.strides[source];
        std::memcpy(band.pixels.data() + p * channels + input, from + parameters_.first_channel[source],
                    static_cast<size_t>(parameters_.channels[source]) * sizeof(uint16_t));
      });
      kernels_.quantize_groups(quantizer, band.pixels.data(), channels, format_, left, errors, band.codes.data(),
                               channels * code_bytes_);
      for_sources(place, [&](int64_t p, int64_t pixel, size_t source, int64_t input) {
        const int64_t position = input_position_[static_cast<size_t>(input)];
        std::memcpy(codes + pixel * code_stride_ + position * code_bytes_,
                    band.codes.data() + (p * channels + input) * code_bytes_,
                    static_cast<size_t>(parameters_.channels[source] * code_bytes_));
      });
    }
  }
}

}  // namespace daq
