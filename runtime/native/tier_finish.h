// What comes before and after integer products: the float convolution of the head, and sums made values. A part of tier.h.

#pragma once

#include <type_traits>

#include "kernels.h"
#include "lanes.h"

namespace daq {
namespace {  // one copy a tier

constexpr int64_t kStoresAhead = 32;  // pixels: memory that is written is fetched first, and that takes a while

inline Lanes combine(const Lanes& value, const Lanes& other, Operand operand) {
  return operand == Operand::add ? value + other : value * other;
}

inline Lanes activate(const Lanes& value, const Lanes& slope, Activation activation) {
  const Lanes one = lanes_set(1.0f);
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return lanes_max(value, lanes_set(0.0f));
    case Activation::slope: return lanes_times_where_negative(value, slope);
    case Activation::sigmoid: return one / (one + lanes_exp(lanes_set(0.0f) - value));
    default: {  // tanh
      const Lanes power = lanes_exp(value + value);
      return one - lanes_set(2.0f) / (power + one);
    }
  }
}

// What is to be done with sums. The usual cases are known when this is compiled, and their loop has nothing else in it.
struct Asked {
  Activation activation;
  Operand operand;
  bool operand_first, half_output, statistics, positives;
};
template <Activation kActivation, Operand kOperand, bool kPositives>
struct Usual {
  static constexpr Activation activation = kActivation;
  static constexpr Operand operand = kOperand;
  static constexpr bool operand_first = false, half_output = true, statistics = true, positives = kPositives;
};

Asked asked_of(const Epilogue& epilogue, const Finish& run) {
  const bool statistics = run.half_output != nullptr && run.statistics != nullptr;
  return {epilogue.activation, run.operand == nullptr ? Operand::none : epilogue.operand,
          epilogue.operand_first, run.half_output != nullptr,
          statistics, statistics && run.statistics->positives != nullptr};
}

// Sums of products, of pixel after pixel, scaled and with the bias added.
class ScaledSums {
 public:
  ScaledSums(const Epilogue& epilogue, const Finish& run)
      : sums_(run.accumulators), stride_(run.accumulator_stride), scale_(lanes_load(epilogue.scale + run.channel)) {}
  Lanes value(const Lanes& bias) const { return lanes_fma(lanes_from_int(sums_), scale_, bias); }
  void next_pixel() { sums_ += stride_; }

 private:
  const int32_t* sums_;
  int64_t stride_;
  Lanes scale_;
};

// The same of weights in two planes.
class ScaledPlanes {
 public:
  ScaledPlanes(const Epilogue& epilogue, const Finish& run)
      : sums_(run.accumulators), stride_(run.accumulator_stride), scale_(lanes_load(epilogue.scale + run.channel)) {}
  Lanes value(const Lanes& bias) const {
    return lanes_fma(lanes_fma(lanes_from_int(sums_), lanes_set(256.0f), lanes_from_int(sums_ + kBlock)), scale_, bias);
  }
  void next_pixel() { sums_ += stride_; }

 private:
  const int32_t* sums_;
  int64_t stride_;
  Lanes scale_;
};

class FloatSums {
 public:
  FloatSums(const Finish& run, const float* sums) : sums_(sums), stride_(run.accumulator_stride) {}
  Lanes value(const Lanes& bias) const { return lanes_load(sums_) + bias; }
  void next_pixel() { sums_ += stride_; }

 private:
  const float* sums_;
  int64_t stride_;
};

// Sums become values: bias, activation, operand, statistics, store. Of one block, pixel after pixel. What a pixel needs is held
// here, so that it is not read again as if stores could change it.
template <class Asks, class Sums>
class Finishing {
 public:
  Finishing(const Epilogue& epilogue, const Finish& run, const Asks& asks, const Sums& sums)
      : asks_(asks), sums_(sums), bias_(run.bias), operand_(run.operand), half_output_(run.half_output),
        float_output_(run.float_output), bias_stride_(run.bias_stride), operand_stride_(run.operand_stride),
        output_stride_(run.output_stride), channel_(run.channel), statistics_(run.statistics),
        slope_(lanes_load(epilogue.slope + channel_)), valid_(lanes_load(epilogue.valid + channel_)) {
    if (!asks_.statistics) return;
    if (run.sets_pivot) lanes_store(statistics_->pivot + channel_, store());
    pivot_ = lanes_load(statistics_->pivot + channel_);
    if (asks_.positives) positives_ = lanes_load(statistics_->positives + channel_);
    total_ = lanes_load(statistics_->total + channel_);
    squares_ = lanes_load(statistics_->total_squares + channel_);
    minimum_ = lanes_load(statistics_->minimum + channel_);
    maximum_ = lanes_load(statistics_->maximum + channel_);
  }

  void next_pixel() {
    if (asks_.half_output) {
      const Lanes stored = store(), distance = stored - pivot_;
      if (asks_.positives) positives_ = positives_ + lanes_one_where_positive(stored);
      if (asks_.statistics) {
        total_ = total_ + distance;
        squares_ = lanes_fma(distance, distance, squares_);
        minimum_ = lanes_min(stored, minimum_);
        maximum_ = lanes_max(stored, maximum_);
      }
      half_output_ += output_stride_;
    } else {
      lanes_store(float_output_, value());
      float_output_ += output_stride_;
    }
    sums_.next_pixel();
    bias_ += bias_stride_;
    if (asks_.operand != Operand::none) operand_ += operand_stride_;
  }

  // To be called after the last pixel.
  void keep_statistics() const {
    if (!asks_.statistics) return;
    if (asks_.positives) lanes_store(statistics_->positives + channel_, positives_);
    lanes_store(statistics_->total + channel_, total_);
    lanes_store(statistics_->total_squares + channel_, squares_);
    lanes_store(statistics_->minimum + channel_, minimum_);
    lanes_store(statistics_->maximum + channel_, maximum_);
  }

 private:
  Lanes value() const {
    Lanes value = sums_.value(lanes_load(bias_));
    if (asks_.operand != Operand::none && asks_.operand_first) value = combine(value, lanes_load_half(operand_), asks_.operand);
    value = activate(value, slope_, asks_.activation);
    if (asks_.activation == Activation::sigmoid) value = value * valid_;
    if (asks_.operand != Operand::none && !asks_.operand_first) value = combine(value, lanes_load_half(operand_), asks_.operand);
    return value;
  }
  Lanes store() const {
    __builtin_prefetch(half_output_ + kStoresAhead * output_stride_, 1);
    return lanes_store_half(half_output_, lanes_hold_half(value()));
  }

  const Asks asks_;
  Sums sums_;
  const float* bias_;
  const uint16_t* operand_;
  uint16_t* half_output_;
  float* float_output_;
  const int64_t bias_stride_, operand_stride_, output_stride_;
  const int channel_;
  const RowStatistics* const statistics_;
  const Lanes slope_, valid_;
  Lanes pivot_{}, positives_{}, total_{}, squares_{}, minimum_{}, maximum_{};
};

template <class Asks, class Sums>
inline void finish_values(const Epilogue& epilogue, const Finish& run, const Asks& asks, const Sums& sums) {
  Finishing<Asks, Sums> finishing(epilogue, run, asks, sums);
  for (int64_t x = 0; x < run.pixels; ++x) finishing.next_pixel();
  finishing.keep_statistics();
}

// Calls `use` with what is known of the usual case that is asked for; says whether it is one of them.
template <class Use>
inline bool if_usual(const Asked& asked, Use use) {
  const bool adds = asked.operand == Operand::add && !asked.operand_first;
  if (!asked.statistics || !(adds || asked.operand == Operand::none)) return false;
  const auto with = [&](auto activation, auto positives) {
    constexpr Activation kActivation = decltype(activation)::value;
    constexpr bool kPositives = decltype(positives)::value;
    adds ? use(Usual<kActivation, Operand::add, kPositives>{}) : use(Usual<kActivation, Operand::none, kPositives>{});
    return true;
  };
  using Yes = std::true_type;
  using No = std::false_type;
  if (asked.activation == Activation::relu) {
    using Relu = std::integral_constant<Activation, Activation::relu>;
    return asked.positives ? with(Relu{}, Yes{}) : with(Relu{}, No{});
  }
  if (asked.positives) return false;
  if (asked.activation == Activation::none) return with(std::integral_constant<Activation, Activation::none>{}, No{});
  if (asked.activation == Activation::slope) return with(std::integral_constant<Activation, Activation::slope>{}, No{});
  return false;
}

void finish(const Epilogue& epilogue, const Finish& run) {
  const Asked asked = asked_of(epilogue, run);
  if (epilogue.two_planes) return finish_values(epilogue, run, asked, ScaledPlanes(epilogue, run));
  const ScaledSums sums(epilogue, run);
  if (!if_usual(asked, [&](auto usual) { finish_values(epilogue, run, usual, sums); })) {
    finish_values(epilogue, run, asked, sums);
  }
}

void finish_float(const Epilogue& epilogue, const Finish& run, const float* sums) {
  finish_values(epilogue, run, asked_of(epilogue, run), FloatSums(run, sums));
}

template <int kPixels>
void accumulate_float_tile(const float* const* taps, int tap_count, int64_t advance, const float* weights, int64_t x,
                           float* sums, int64_t stride) {
  Lanes sum[kPixels];
  for (int p = 0; p < kPixels; ++p) sum[p] = lanes_set(0.0f);
  for (int tap = 0; tap < tap_count; ++tap) {
    const Lanes weight = lanes_load(weights + tap * kBlock);
    const float* values = taps[tap] + x * advance;
    for (int p = 0; p < kPixels; ++p) sum[p] = lanes_fma(lanes_set(values[p * advance]), weight, sum[p]);
  }
  for (int p = 0; p < kPixels; ++p) lanes_store(sums + p * stride, sum[p]);
}

void accumulate_float(const float* const* taps, int tap_count, int64_t advance, const float* weights, int blocks, int64_t x,
                      int pixels, float* sums) {
  constexpr int kTogether = 8;
  const int64_t stride = static_cast<int64_t>(blocks) * kBlock;
  for (int block = 0; block < blocks; ++block) {
    const float* block_weights = weights + static_cast<int64_t>(block) * tap_count * kBlock;
    int p = 0;
    for (; p + kTogether <= pixels; p += kTogether) {
      accumulate_float_tile<kTogether>(taps, tap_count, advance, block_weights, x + p, sums + p * stride + block * kBlock,
                                       stride);
    }
    for (; p < pixels; ++p) {
      accumulate_float_tile<1>(taps, tap_count, advance, block_weights, x + p, sums + p * stride + block * kBlock, stride);
    }
  }
}

void planar_statistics(const float* values, int64_t count, float pivot, float* results) {
  Lanes positives = lanes_set(0.0f), total = positives, squares = positives;
  Lanes minimum = lanes_set(values[0]), maximum = minimum;
  const Lanes centre = lanes_set(pivot);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes value = lanes_load(values + i);
    const Lanes distance = value - centre;
    positives = positives + lanes_one_where_positive(value);
    total = total + distance;
    squares = lanes_fma(distance, distance, squares);
    minimum = lanes_min(value, minimum);
    maximum = lanes_max(value, maximum);
  }
  float lanes[5][kLanes];
  lanes_store(lanes[0], positives);
  lanes_store(lanes[1], total);
  lanes_store(lanes[2], squares);
  lanes_store(lanes[3], minimum);
  lanes_store(lanes[4], maximum);
  for (int s = 0; s < 5; ++s) results[s] = lanes[s][0];
  const auto add = [&](float positive, float sum, float square, float low, float high) {
    results[0] += positive;
    results[1] += sum;
    results[2] += square;
    results[3] = low < results[3] ? low : results[3];
    results[4] = high > results[4] ? high : results[4];
  };
  for (int k = 1; k < kLanes; ++k) add(lanes[0][k], lanes[1][k], lanes[2][k], lanes[3][k], lanes[4][k]);
  for (; i < count; ++i) {
    const float distance = values[i] - pivot;
    add(values[i] > 0.0f ? 1.0f : 0.0f, distance, distance * distance, values[i], values[i]);
  }
}

}  // namespace
}  // namespace daq
