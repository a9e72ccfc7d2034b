// What comes before and after integer products: the float convolution of the head, and sums made values. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"

namespace daq {
namespace {  // one copy a tier

// Blocks of a pixel that are finished together: as many as registers hold the statistics of.
constexpr int kFinishedTogether = kParts == 1 ? 2 : 1;

#define DAQ_EACH_BLOCK for (int b = 0; b < kBlocks; ++b)

// Of so many blocks of a pixel.
template <int kBlocks>
struct Blocks {
  Lanes block[kBlocks];
};
template <int kBlocks>
inline Blocks<kBlocks> load_blocks(const float* values) {
  Blocks<kBlocks> blocks;
  DAQ_EACH_BLOCK blocks.block[b] = lanes_load(values + b * kBlock);
  return blocks;
}
template <int kBlocks>
inline void store_blocks(float* target, const Blocks<kBlocks>& blocks) {
  DAQ_EACH_BLOCK lanes_store(target + b * kBlock, blocks.block[b]);
}

inline Lanes combine(const Lanes& value, const Lanes& other, Operand operand) {
  return operand == Operand::add ? value + other : value * other;
}

inline Lanes activate(const Lanes& value, const Lanes& slope, Activation activation) {
  const Lanes one = lanes_set(1.0f);
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return lanes_max(value, lanes_set(0.0f));
    case Activation::slope: return lanes_times_where_negative(value, slope);
    case Activation::sigmoid: return lanes_reciprocal(one + lanes_exp(lanes_set(0.0f) - value));
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
template <Activation kActivation, Operand kOperand, bool kOperandFirst, bool kPositives>
struct Usual {
  static constexpr Activation activation = kActivation;
  static constexpr Operand operand = kOperand;
  static constexpr bool operand_first = kOperandFirst, half_output = true, statistics = true, positives = kPositives;
};

Asked asked_of(const Epilogue& epilogue, const Finish& run) {
  const bool statistics = run.half_output != nullptr && run.statistics != nullptr;
  return {epilogue.activation, run.operand == nullptr ? Operand::none : epilogue.operand,
          epilogue.operand_first, run.half_output != nullptr,
          statistics, statistics && run.statistics->positives != nullptr};
}

// What is done beside finishing, pixel by pixel; and whether there is a loop that writes past the caches.
struct Nothing {
  static constexpr bool kPastCaches = false;
  void operator()(int64_t) const {}
};

// The sums of some blocks and a run of pixels become values: scale, bias, activation, operand, statistics, store.
template <int kBlocks, class Asks, class Value, class Beside = Nothing>
inline void finish_values(const Epilogue& epilogue, const Finish& run, const Asks asks, Value value_of,
                          const Beside& beside = Beside()) {
  const auto load = [&](const float* values) { return load_blocks<kBlocks>(values + run.channel); };
  const auto store = [&](float* target, const Blocks<kBlocks>& values) { store_blocks(target + run.channel, values); };
  const Blocks<kBlocks> slope = load(epilogue.slope), valid = load(epilogue.valid);
  // Not read again for each pixel, as if stores could change them.
  const int64_t pixels = run.pixels;
  const int64_t bias_stride = run.bias_stride, operand_stride = run.operand_stride, output_stride = run.output_stride;
  const float* bias = run.bias;
  const uint16_t* operand = run.operand;
  float* float_output = run.float_output;
  uint16_t* half_output = run.half_output;
  const auto value_at = [&](int64_t x, int b) {
    Lanes value = value_of(x, b, lanes_load(bias + x * bias_stride + b * kBlock));
    const auto combined = [&] {
      return combine(value, lanes_load_half(operand + x * operand_stride + b * kBlock), asks.operand);
    };
    if (asks.operand != Operand::none && asks.operand_first) value = combined();
    value = activate(value, slope.block[b], asks.activation);
    if (asks.activation == Activation::sigmoid) value = value * valid.block[b];
    if (asks.operand != Operand::none && !asks.operand_first) value = combined();
    return value;
  };
  if (!asks.half_output) {
    for (int64_t x = 0; x < pixels; ++x) {
      DAQ_EACH_BLOCK lanes_store(float_output + x * output_stride + b * kBlock, value_at(x, b));
    }
    return;
  }
  const auto held_at = [&](int64_t x, int b) { return lanes_hold_half(value_at(x, b)); };
  const auto fetch_ahead = [&](int64_t x, bool past_caches) {
    if (!past_caches) __builtin_prefetch(half_output + (x + kFetchedAhead) * output_stride, 1);
    if (asks.operand != Operand::none) __builtin_prefetch(operand + (x + kFetchedAhead) * operand_stride);
  };
  if (!asks.statistics) {
    for (int64_t x = 0; x < pixels; ++x) {
      fetch_ahead(x, false);
      DAQ_EACH_BLOCK lanes_store_half(half_output + x * output_stride + b * kBlock, held_at(x, b));
    }
    return;
  }
  const RowStatistics& statistics = *run.statistics;
  if (run.sets_pivot) {
    // Rounded, so that a sum of many equal distances is exact where one of them is: of zeros behind a Relu.
    DAQ_EACH_BLOCK lanes_store(statistics.pivot + run.channel + b * kBlock, lanes_as_half(held_at(0, b)));
  }
  const Blocks<kBlocks> pivot = load(statistics.pivot);
  Blocks<kBlocks> positives = asks.positives ? load(statistics.positives) : pivot;
  Blocks<kBlocks> total = load(statistics.total), squares = load(statistics.total_squares);
  Blocks<kBlocks> minimum = load(statistics.minimum), maximum = load(statistics.maximum);
  const auto finish_pixels = [&](auto past_caches) {
    for (int64_t x = 0; x < pixels; ++x) {
      beside(x);
      fetch_ahead(x, past_caches);
      Blocks<kBlocks> values;
      DAQ_EACH_BLOCK values.block[b] = held_at(x, b);
      uint16_t* line = half_output + x * output_stride;
      if constexpr (past_caches) {
        part_stream_half(line, values.block[0].part[0], values.block[1].part[0]);
      } else {
        DAQ_EACH_BLOCK lanes_store_half(line + b * kBlock, values.block[b]);
      }
      DAQ_EACH_BLOCK {
        const Lanes value = values.block[b], distance = value - pivot.block[b];
        if (asks.positives) positives.block[b] = lanes_count_positive(positives.block[b], value);
        total.block[b] = total.block[b] + distance;
        squares.block[b] = lanes_fma(distance, distance, squares.block[b]);
        minimum.block[b] = lanes_min(value, minimum.block[b]);
        maximum.block[b] = lanes_max(value, maximum.block[b]);
      }
    }
  };
  constexpr std::bool_constant<kBlocks == 2 && Beside::kPastCaches> may_pass;
  if (may_pass && run.past_caches) {
    finish_pixels(may_pass);
  } else {
    finish_pixels(std::false_type());
  }
  if (asks.positives) store(statistics.positives, positives);
  store(statistics.total, total);
  store(statistics.total_squares, squares);
  // Ranges reach as far as the map, so that what reads it finds the same extremes.
  DAQ_EACH_BLOCK minimum.block[b] = lanes_as_half(minimum.block[b]);
  DAQ_EACH_BLOCK maximum.block[b] = lanes_as_half(maximum.block[b]);
  store(statistics.minimum, minimum);
  store(statistics.maximum, maximum);
}

template <int kBlocks, Activation kActivation, bool kPositives, class Value, class Beside>
inline void finish_usual(const Epilogue& epilogue, const Finish& run, Value value_of, const Beside& beside) {
  if (run.operand == nullptr) {
    finish_values<kBlocks>(epilogue, run, Usual<kActivation, Operand::none, false, kPositives>{}, value_of, beside);
  } else if (epilogue.operand_first) {
    finish_values<kBlocks>(epilogue, run, Usual<kActivation, Operand::add, true, kPositives>{}, value_of, beside);
  } else {
    finish_values<kBlocks>(epilogue, run, Usual<kActivation, Operand::add, false, kPositives>{}, value_of, beside);
  }
}

// `beside` is called in the usual cases only.
template <int kBlocks, class Beside>
void finish_blocks(const Epilogue& epilogue, const Finish& run, const Beside& beside) {
  const Blocks<kBlocks> scale = load_blocks<kBlocks>(epilogue.scale + run.channel);
  const int32_t* sums = run.accumulators;
  const int64_t stride = run.accumulator_stride;
  const Asked asked = asked_of(epilogue, run);
  if (epilogue.two_planes) {
    return finish_values<kBlocks>(epilogue, run, asked, [=](int64_t x, int b, const Lanes& bias) {
      const int32_t* high = sums + x * stride + b * 2 * kBlock;
      return lanes_fma(lanes_fma(lanes_from_int(high), lanes_set(256.0f), lanes_from_int(high + kBlock)), scale.block[b], bias);
    });
  }
  const auto value_of = [=](int64_t x, int b, const Lanes& bias) {
    return lanes_fma(lanes_from_int(sums + x * stride + b * kBlock), scale.block[b], bias);
  };
  if (asked.statistics && asked.operand != Operand::multiply) {
    if (asked.activation == Activation::relu) {
      if (asked.positives) return finish_usual<kBlocks, Activation::relu, true>(epilogue, run, value_of, beside);
      return finish_usual<kBlocks, Activation::relu, false>(epilogue, run, value_of, beside);
    }
    if (asked.activation == Activation::none && !asked.positives) {
      return finish_usual<kBlocks, Activation::none, false>(epilogue, run, value_of, beside);
    }
    if (asked.activation == Activation::slope && !asked.positives) {
      return finish_usual<kBlocks, Activation::slope, false>(epilogue, run, value_of, beside);
    }
  }
  if (asked.statistics && asked.activation == Activation::sigmoid && asked.operand == Operand::multiply &&
      !asked.operand_first && !asked.positives) {
    using Gate = Usual<Activation::sigmoid, Operand::multiply, false, false>;
    return finish_values<kBlocks>(epilogue, run, Gate{}, value_of, beside);
  }
  finish_values<kBlocks>(epilogue, run, asked, value_of);
}

template <class Beside>
void finish_beside(const Epilogue& epilogue, const Finish& run, const Beside& beside) {
  if (run.blocks == 1) return finish_blocks<1>(epilogue, run, beside);
  finish_blocks<kFinishedTogether>(epilogue, run, beside);
}

void finish(const Epilogue& epilogue, const Finish& run) { finish_beside(epilogue, run, Nothing()); }

#undef DAQ_EACH_BLOCK

void finish_float(const Epilogue& epilogue, const Finish& run, const float* sums) {
  const int64_t stride = run.accumulator_stride;
  finish_values<1>(epilogue, run, asked_of(epilogue, run),
                   [=](int64_t x, int, const Lanes& bias) { return lanes_load(sums + x * stride) + bias; });
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
    for_groups<kTogether>(pixels, [&](int64_t p, auto together) {
      accumulate_float_tile<decltype(together)::value>(taps, tap_count, advance, block_weights, x + p,
                                                       sums + p * stride + block * kBlock, stride);
    });
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
    positives = lanes_count_positive(positives, value);
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
