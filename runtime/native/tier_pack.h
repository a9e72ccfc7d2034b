// Steps folded into weights, and weights packed for the sums of products. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"

namespace daq {
namespace {  // one copy a tier

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

// The packed weights, and from where sums begin since differences are above kPairZero: those of m1 and m0, and those of m2 and
// m3. The first is in both outputs, the second is added to one and subtracted from the other.
void pack_byte_pairs(const int16_t* folded, int segments, int64_t channels, int8_t* packed) {
  const int64_t product = segments * channels, steps = channels / 4;
  pack_steps(folded, kPairProducts * segments, channels, steps, 0, true, packed);
  int32_t corrections[2][kBlock];
  for (int64_t output = 0; output < kBlock; ++output) {
    int32_t sums[kPairProducts] = {};
    for (int64_t p = 0; p < kPairProducts; ++p) {
      for (int64_t i = 0; i < product; ++i) sums[p] += folded[(output * kPairProducts + p) * product + i];
    }
    corrections[0][output] = kPairZero / 2 * (sums[3] - sums[0]);
    corrections[1][output] = -kPairZero / 2 * (sums[0] + 2 * sums[2] + sums[3]);
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

}  // namespace
}  // namespace daq
