// What every tier does alike, compiled once with each tier's instruction set. Included by tier_*.cc, which add the integer
// sums of products (`accumulate`) and how weights are packed for them.

#pragma once

#include "kernels.h"
#include "lanes.h"

namespace daq {
namespace {  // one copy a tier

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Codes of up to 16 channels of a run of pixels: `kBytes` are written a pixel.
template <bool kWords, int kBytes>
void quantize_block(const Quantizer& quantizer, int64_t first, const uint16_t* pixels, int64_t stride, int64_t readable,
                    int64_t count, uint8_t* codes, int64_t code_stride) {
  const Lanes lo = lanes_load(quantizer.lo + first);
  const Lanes inverse_step = lanes_load(quantizer.inverse_step + first);
  const Lanes highest = lanes_load(quantizer.highest + first);
  const Lanes shift = lanes_load(quantizer.shift + first);
  const Lanes zero = lanes_set(0.0f);
  uint16_t held[kLanes] = {};
  for (int64_t x = 0; x < count; ++x) {
    const uint16_t* source = pixels + x * stride;
    if (readable < kLanes) {  // a slice at the end of a pixel, which must not be read past
      std::memcpy(held, source, static_cast<size_t>(readable) * sizeof(uint16_t));
      source = held;
    }
    // NaN goes to zero, as in QuantizeLinear.
    const Lanes position = lanes_min(lanes_max((lanes_load_half(source) - lo) * inverse_step, zero), highest);
    const Lanes code = lanes_round(position) * shift;
    alignas(64) uint8_t whole[kLanes * 2];
    uint8_t* target = codes + x * code_stride;
    constexpr bool kPartial = kBytes < kLanes * (kWords ? 2 : 1);
    if constexpr (kWords) {
      lanes_store_words(reinterpret_cast<int16_t*>(kPartial ? whole : target), code);
    } else {
      lanes_store_bytes(kPartial ? whole : target, code);
    }
    if constexpr (kPartial) std::memcpy(target, whole, kBytes);
  }
}

template <bool kWords>
void quantize_as(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t readable, int64_t count,
                 uint8_t* codes, int64_t code_stride) {
  constexpr int kSize = kWords ? 2 : 1;
  for (int64_t first = 0; first < quantizer.channels; first += kLanes) {
    const auto run = [&](auto block) {
      block(quantizer, first, pixels + first, stride, readable - first, count, codes + first * kSize, code_stride);
    };
    // The padding of the last step is written, as zeros: highest is 0 there.
    switch (smaller(round_up(quantizer.channels - first, 4), kLanes)) {
      case 4: run(quantize_block<kWords, 4 * kSize>); break;
      case 8: run(quantize_block<kWords, 8 * kSize>); break;
      case 12: run(quantize_block<kWords, 12 * kSize>); break;
      default: run(quantize_block<kWords, 16 * kSize>); break;
    }
  }
}

void quantize(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t readable, int64_t count,
              CodeFormat format, uint8_t* codes, int64_t code_stride) {
  if (is_words(format)) {
    quantize_as<true>(quantizer, pixels, stride, readable, count, codes, code_stride);
  } else {
    quantize_as<false>(quantizer, pixels, stride, readable, count, codes, code_stride);
  }
}

void pair(const uint8_t* codes, int64_t channels, int64_t pairs, uint8_t* paired) {
  constexpr int kPiece = kSlack;
  // Whole pieces: what they write past the end of a run is written again with the next.
  const auto run = [channels](const uint8_t* __restrict a, const uint8_t* __restrict b, int sign, int zero,
                              uint8_t* __restrict target) {
    for (int64_t c = 0; c < channels; c += kPiece) {
      for (int i = 0; i < kPiece; ++i) target[c + i] = static_cast<uint8_t>(a[c + i] + sign * b[c + i] + zero);
    }
  };
  for (int64_t p = 0; p < pairs; ++p) {
    const uint8_t* d0 = codes + 2 * p * channels;
    const uint8_t *d1 = d0 + channels, *d2 = d1 + channels, *d3 = d2 + channels;
    uint8_t* target = paired + p * kPairProducts * channels;
    run(d0, d2, -1, kPairZero, target);
    run(d1, d2, 1, 0, target + channels);
    run(d2, d1, -1, kPairZero, target + 2 * channels);
    run(d3, d1, -1, kPairZero, target + 3 * channels);
  }
}

float largest_product(const float* weights, const float* factors, int64_t count) {
  Lanes largest = lanes_set(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes product = lanes_load(weights + i) * lanes_load(factors + i);
    largest = lanes_max(largest, lanes_max(product, lanes_set(0.0f) - product));
  }
  float values[kLanes];
  lanes_store(values, largest);
  float result = 0.0f;
  for (const float value : values) result = value > result ? value : result;
  for (; i < count; ++i) {
    const float product = std::fabs(weights[i] * factors[i]);
    result = product > result ? product : result;
  }
  return result;
}

void fold(const float* weights, const float* factors, const float* lo, const float* centre, float scale, int64_t count,
          int largest, float* carry, int16_t* folded, float* offset) {
  const float inverse = 1.0f / scale;
  float values[5][kLanes];
  float sum = 0.0f;
  Lanes sums = lanes_set(0.0f);
  const Lanes limit = lanes_set(static_cast<float>(largest));
  for (int64_t i = 0; i < count; i += kLanes) {
    const float* sources[5] = {weights + i, factors + i, lo + i, centre + i, carry + i};
    const int64_t valid = smaller(count - i, kLanes);
    if (valid < kLanes) {
      std::memset(values, 0, sizeof(values));
      for (int s = 0; s < 5; ++s) {
        std::memcpy(values[s], sources[s], static_cast<size_t>(valid) * sizeof(float));
        sources[s] = values[s];
      }
    }
    const Lanes weight = lanes_load(sources[0]);
    const Lanes product = weight * lanes_load(sources[1]);
    const Lanes carried = lanes_load(sources[4]), aim = product + carried;
    const Lanes held = lanes_min(lanes_max(aim * lanes_set(inverse), lanes_set(0.0f) - limit), limit);
    const Lanes code = lanes_round(held);
    const Lanes left = aim - code * lanes_set(scale);
    sums = sums + weight * lanes_load(sources[2]) + (left - carried) * lanes_load(sources[3]);
    lanes_store(values[0], left);
    std::memcpy(carry + i, values[0], static_cast<size_t>(valid) * sizeof(float));
    int16_t whole[kLanes];
    lanes_store_words(whole, code);
    std::memcpy(folded + i, whole, static_cast<size_t>(valid) * sizeof(int16_t));
  }
  lanes_store(values[0], sums);
  for (const float value : values[0]) sum += value;
  *offset += sum;
}

// (kBlock, segments, elements) to (segments, steps, kBlock, elements of a step).
template <class Packed>
void pack_steps(const int16_t* folded, int segments, int64_t elements, int64_t steps, int low_bits, bool high, Packed* packed) {
  constexpr int64_t kStep = 4 / sizeof(Packed);
  for (int segment = 0; segment < segments; ++segment) {
    for (int64_t step = 0; step < steps; ++step) {
      Packed* target = packed + (segment * steps + step) * kBlock * kStep;
      for (int64_t output = 0; output < kBlock; ++output) {
        const int16_t* source = folded + (output * segments + segment) * elements;
        for (int64_t k = 0; k < kStep; ++k) {
          const int64_t element = step * kStep + k;
          const int value = element < elements ? source[element] : 0;
          const int upper = low_bits == 0 ? value : (value + 128) >> low_bits;
          target[output * kStep + k] = static_cast<Packed>(high ? upper : value - upper * (1 << low_bits));
        }
      }
    }
  }
}

// The packed weights, and what a block's sums are corrected by.
void pack_byte_pairs(const int16_t* folded, int segments, int64_t channels, int8_t* packed) {
  const int64_t product = segments * channels, steps = channels / 4;
  pack_steps(folded, kPairProducts * segments, channels, steps, 0, true, packed);
  int32_t corrections[2][kBlock];
  for (int64_t output = 0; output < kBlock; ++output) {
    int32_t sums[kPairProducts] = {};
    for (int64_t p = 0; p < kPairProducts; ++p) {
      for (int64_t i = 0; i < product; ++i) sums[p] += folded[(output * kPairProducts + p) * product + i];
    }
    corrections[0][output] = -kPairZero * (sums[0] + sums[2]);
    corrections[1][output] = kPairZero * (sums[2] - sums[3]);
  }
  std::memcpy(packed + kPairProducts * segments * steps * kStepBytes, corrections, sizeof(corrections));
}

void pack(const int16_t* folded, int segments, int64_t elements, int64_t steps, CodeFormat format, void* packed) {
  auto* bytes = static_cast<int8_t*>(packed);
  switch (format) {
    case CodeFormat::bytes:
      pack_steps(folded, segments, elements, steps, 0, true, bytes);
      break;
    case CodeFormat::two_planes:
      pack_steps(folded, segments, elements, steps, 8, true, bytes);
      pack_steps(folded, segments, elements, steps, 8, false, bytes + segments * steps * kStepBytes);
      break;
    case CodeFormat::words:
      pack_steps(folded, segments, elements, steps, 0, true, static_cast<int16_t*>(packed));
      break;
    case CodeFormat::byte_pairs:
      pack_byte_pairs(folded, segments, elements, bytes);
      break;
    case CodeFormat::rows:
      std::memcpy(packed, folded, static_cast<size_t>(kBlock * segments * elements) * sizeof(int16_t));
      break;
    case CodeFormat::pairs:
    case CodeFormat::quads:
      break;  // the tier that wants them packs them itself
  }
}

inline Lanes combine(const Lanes& value, const Lanes& other, Operand operand) {
  return operand == Operand::add ? value + other : value * other;
}

inline Lanes activate(const Lanes& value, const Lanes& slope, Activation activation) {
  const Lanes one = lanes_set(1.0f);
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return lanes_max(value, lanes_set(0.0f));
    case Activation::slope: return lanes_select_negative(value, value * slope);
    case Activation::sigmoid: return one / (one + lanes_exp(lanes_set(0.0f) - value));
    default: {  // tanh
      const Lanes power = lanes_exp(value + value);
      return one - lanes_set(2.0f) / (power + one);
    }
  }
}

// The sums of one block and a run of pixels become values: scale, bias, activation, operand, statistics, store.
template <class Sums>
inline void finish_sums(const Epilogue& epilogue, const Finish& run, Sums sums_of) {
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
    Lanes value = sums_of(x) + lanes_load(run.bias + x * run.bias_stride);
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
    finish_sums(epilogue, run, [&](int64_t x) {
      const int32_t* high = sums + x * run.accumulator_stride;
      return lanes_fma(lanes_from_int(high), lanes_set(256.0f), lanes_from_int(high + kBlock)) * scale;
    });
    return;
  }
  finish_sums(epilogue, run, [&](int64_t x) { return lanes_from_int(sums + x * run.accumulator_stride) * scale; });
}

void finish_float(const Epilogue& epilogue, const Finish& run, const float* sums) {
  finish_sums(epilogue, run, [&](int64_t x) { return lanes_load(sums + x * run.accumulator_stride); });
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

inline void leave_nothing() {}

constexpr int kLargestSum = 2147483647;

inline int weight_limit(int format_limit, int largest_code, int64_t products) {
  return static_cast<int>(smaller(format_limit, kLargestSum / (products * largest_code)));
}

}  // namespace
}  // namespace daq
