// What comes before and after integer products: the float convolution of the head, and sums made values. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"

namespace daq {
namespace {  // one copy a tier

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

// The sums of one block and a run of pixels become values: scale, bias, activation, operand, statistics, store.
template <class Value>
inline void finish_values(const Epilogue& epilogue, const Finish& run, Value value_of) {
  const Lanes slope = lanes_load(epilogue.slope + run.channel);
  const Lanes valid = lanes_load(epilogue.valid + run.channel);
  const Lanes most = lanes_set(kLargestHalf), least = lanes_set(-kLargestHalf);
  const RowStatistics* statistics = run.statistics;
  const bool counts_positives = statistics != nullptr && statistics->positives != nullptr;
  Lanes pivot{}, positives{}, total{}, squares{}, minimum{}, maximum{};
  if (counts_positives) positives = lanes_load(statistics->positives + run.channel);
  if (statistics != nullptr) {
    pivot = lanes_load(statistics->pivot + run.channel);
    total = lanes_load(statistics->total + run.channel);
    squares = lanes_load(statistics->total_squares + run.channel);
    minimum = lanes_load(statistics->minimum + run.channel);
    maximum = lanes_load(statistics->maximum + run.channel);
  }
  const bool before = run.operand != nullptr && epilogue.operand_first;
  const bool after = run.operand != nullptr && !epilogue.operand_first;
  for (int64_t x = 0; x < run.pixels; ++x) {
    Lanes value = value_of(x, lanes_load(run.bias + x * run.bias_stride));
    const uint16_t* operand = run.operand + x * run.operand_stride;
    if (before) value = combine(value, lanes_load_half(operand), epilogue.operand);
    value = activate(value, slope, epilogue.activation);
    if (epilogue.activation == Activation::sigmoid) value = value * valid;
    if (after) value = combine(value, lanes_load_half(operand), epilogue.operand);
    if (run.half_output == nullptr) {
      lanes_store(run.float_output + x * run.output_stride, value);
      continue;
    }
    value = lanes_max(lanes_min(value, most), least);
    uint16_t* output = run.half_output + x * run.output_stride;
    value = lanes_store_half(output, value);
    if (statistics == nullptr) continue;
    if (x == 0 && run.sets_pivot) {
      pivot = value;
      lanes_store(statistics->pivot + run.channel, pivot);
    }
    const Lanes distance = value - pivot;
    if (counts_positives) positives = positives + lanes_one_where_positive(value);
    total = total + distance;
    squares = lanes_fma(distance, distance, squares);
    minimum = lanes_min(value, minimum);
    maximum = lanes_max(value, maximum);
  }
  if (counts_positives) lanes_store(statistics->positives + run.channel, positives);
  if (statistics != nullptr) {
    lanes_store(statistics->total + run.channel, total);
    lanes_store(statistics->total_squares + run.channel, squares);
    lanes_store(statistics->minimum + run.channel, minimum);
    lanes_store(statistics->maximum + run.channel, maximum);
  }
}

void finish(const Epilogue& epilogue, const Finish& run) {
  const Lanes scale = lanes_load(epilogue.scale + run.channel);
  const int32_t* sums = run.accumulators;
  if (epilogue.two_planes) {
    finish_values(epilogue, run, [&](int64_t x, const Lanes& bias) {
      const int32_t* high = sums + x * run.accumulator_stride;
      return lanes_fma(lanes_fma(lanes_from_int(high), lanes_set(256.0f), lanes_from_int(high + kBlock)), scale, bias);
    });
    return;
  }
  finish_values(epilogue, run, [&](int64_t x, const Lanes& bias) {
    return lanes_fma(lanes_from_int(sums + x * run.accumulator_stride), scale, bias);
  });
}

void finish_float(const Epilogue& epilogue, const Finish& run, const float* sums) {
  finish_values(epilogue, run, [&](int64_t x, const Lanes& bias) {
    return lanes_load(sums + x * run.accumulator_stride) + bias;
  });
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
