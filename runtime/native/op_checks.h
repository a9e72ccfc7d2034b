// What the custom ops check of their attributes and tensors.

#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "maps.h"
#include "ort_context.h"
#include "parallel.h"
#include "statistics.h"

namespace daq {

inline Parallel parallel_of(const ort::Context& context) {
  return [&context](int64_t count, const std::function<void(int64_t)>& work) { context.parallel(count, work); };
}

inline void check_bits(const std::vector<int>& bits) {
  for (const int value : bits) {
    if (value < 2 || value > 8) throw ort::Error("bits " + std::to_string(value) + " are not 2 to 8");
  }
}

inline std::vector<int64_t> channel_counts(const ort::Attributes& attributes) {
  std::vector<int64_t> channels = attributes.integers("channels");
  if (channels.empty()) throw ort::Error("channels is empty");
  for (const int64_t count : channels) {
    if (count < 1) throw ort::Error("channels has a value below 1");
  }
  return channels;
}

inline std::vector<int> bits_of(const ort::Attributes& attributes, int64_t channels) {
  const std::vector<int64_t> values = attributes.integers("bits");
  std::vector<int> bits(values.begin(), values.end());
  if (bits.size() == 1) bits.assign(static_cast<size_t>(channels), bits[0]);
  if (static_cast<int64_t>(bits.size()) != channels) throw ort::Error("bits must be one number, or one a channel");
  check_bits(bits);
  return bits;
}

inline int64_t sum_of(const std::vector<int64_t>& values) {
  int64_t sum = 0;
  for (const int64_t value : values) sum += value;
  return sum;
}

inline void check_rank(const ort::Shape& shape, size_t rank, const char* what) {
  if (shape.size() != rank) throw ort::Error(std::string(what) + " has rank " + std::to_string(shape.size()));
}

// The value that an attribute names.
template <class Choice>
Choice choice_of(const ort::Attributes& attributes, const char* name,
                 std::initializer_list<std::pair<const char*, Choice>> choices) {
  const std::string chosen = attributes.string(name);
  std::string names;
  for (const auto& [known, choice] : choices) {
    if (chosen == known) return choice;
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  throw ort::Error(std::string(name) + " " + chosen + " is none of " + names);
}

inline int64_t channels_of(const ort::Attributes& attributes) {
  const int64_t channels = attributes.integer("channels");
  if (channels < 1) throw ort::Error("channels must be 1 or more");
  return channels;
}

template <size_t kCount>
inline void read_sizes(const ort::Attributes& attributes, const char* name, int64_t least, int64_t (&target)[kCount]) {
  const std::vector<int64_t> values = attributes.integers(name);
  if (values.size() != kCount) throw ort::Error(std::string(name) + " has the wrong number of values");
  for (const int64_t value : values) {
    if (value < least) throw ort::Error(std::string(name) + " has a value that is too small");
  }
  std::copy(values.begin(), values.end(), target);
}

// A native map: (N, H, W, padded C).
inline ort::Tensor<const uint16_t> native_input(const ort::Context& context, size_t index, int64_t least_channels) {
  const ort::Tensor<const uint16_t> map = context.input<uint16_t>(index);
  check_rank(map.shape, 4, "a native map");
  if (map.shape[3] % kBlock != 0 || map.shape[3] < least_channels) throw ort::Error("a native map has too few channels");
  if (map.empty()) throw ort::Error("a native map is empty");
  return map;
}

// Of a native map that has these channels and no others.
inline MapSize map_size(const ort::Tensor<const uint16_t>& map, int64_t channels) {
  if (map.shape[3] != round_up(channels, kBlock)) throw ort::Error("X has another number of channels");
  return {channels, map.shape[1], map.shape[2]};
}

inline double* statistics_output(const ort::Context& context, bool wanted, int64_t images, int64_t channels) {
  if (!wanted) {
    context.output<double>(1, {0});
    return nullptr;
  }
  return context.output<double>(1, {images, kStatistics, channels});
}

}  // namespace daq
