// What the tests of the native kernels share: random numbers, half precision, threads, and how results are compared.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"

// Each runs one random case and says whether it passed.
bool test_convolution(const daq::Kernels& kernels);
bool test_float_convolution(const daq::Kernels& kernels);
bool test_layouts(const daq::Kernels& kernels);
bool test_elementwise(const daq::Kernels& kernels);
bool test_resampling(const daq::Kernels& kernels);
bool test_ranges(const daq::Kernels& kernels);

using daq::Activation;
using daq::Operand;

inline std::mt19937 generator;
inline std::string current;  // what is being tested, for messages
inline int passed = 0, failed = 0;

inline int64_t whole(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }
inline double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(generator); }
inline bool coin() { return whole(0, 1) == 1; }

template <class T>
inline T one_of(const std::vector<T>& choices) {
  return choices[static_cast<size_t>(whole(0, static_cast<int64_t>(choices.size()) - 1))];
}

inline size_t index(int64_t value) { return static_cast<size_t>(value); }

inline bool check(bool good, const char* what) {
  if (!good) std::printf("FAILED: %s: %s\n", current.c_str(), what);
  return good;
}

inline double from_half(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  double magnitude = std::ldexp(mantissa, -24);
  if (exponent == 31) magnitude = mantissa == 0 ? INFINITY : NAN;
  if (exponent > 0 && exponent < 31) magnitude = std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// Of a value that half precision holds exactly.
inline uint16_t to_half(double value) {
  if (value == 0) return 0;
  int exponent = 0;
  const double mantissa = std::frexp(std::fabs(value), &exponent);  // 0.5 to 1
  const auto bits = static_cast<uint16_t>((exponent + 14) << 10 | (static_cast<int>(std::ldexp(mantissa, 11)) & 1023));
  return static_cast<uint16_t>(value < 0 ? bits | 0x8000 : bits);
}

inline void serial(int64_t count, const std::function<void(int64_t)>& work) {
  for (int64_t i = 0; i < count; ++i) work(i);
}

inline void threaded(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int64_t i = next++; i < count; i = next++) work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Begins a line of a cache, as ONNX Runtime's tensors do.
template <class T>
struct LineAllocator {
  using value_type = T;
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, kLine); }
  bool operator==(const LineAllocator&) const { return true; }
  bool operator!=(const LineAllocator&) const { return false; }
  static constexpr std::align_val_t kLine{64};
};
using Halves = std::vector<uint16_t, LineAllocator<uint16_t>>;

// A native map (height, width, padded channels) of values that are multiples of 1/32; padding is zero.
inline Halves random_map(int64_t pixels, int64_t channels, bool positive) {
  const int64_t padded = daq::round_up(channels, daq::kBlock);
  Halves map(index(pixels * padded), 0);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) map[index(p * padded + c)] = to_half(whole(positive ? 0 : -256, 256) / 32.0);
  }
  return map;
}

inline double activate(double value, Activation activation, double slope) {
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return std::max(value, 0.0);
    case Activation::slope: return value < 0 ? value * slope : value;
    case Activation::sigmoid: return 1 / (1 + std::exp(-value));
    default: return std::tanh(value);
  }
}

struct Expected {
  double value, tolerance;
};

inline Expected finish(Expected sum, Activation activation, double slope, Operand operand, bool operand_first, double other) {
  const auto combine = [&](Expected e) -> Expected {
    if (operand == Operand::add) return {e.value + other, e.tolerance};
    return {e.value * other, e.tolerance * std::fabs(other)};
  };
  if (operand != Operand::none && operand_first) sum = combine(sum);
  sum = {activate(sum.value, activation, slope), sum.tolerance + 1e-4};
  if (operand != Operand::none && !operand_first) sum = combine(sum);
  return sum;
}

// What a native map holds, (pixels, channels).
inline std::vector<double> values_of(const Halves& map, int64_t pixels, int64_t channels) {
  const int64_t padded = daq::round_up(channels, daq::kBlock);
  std::vector<double> values;
  for (int64_t i = 0; i < pixels * channels; ++i) values.push_back(from_half(map[index(i / channels * padded + i % channels)]));
  return values;
}

// Statistics (6, channels) are those of values (pixels, channels), known to within `tolerance`, that a native map holds rounded:
// extremes are those of the map.
inline bool statistics_agree(const std::vector<double>& statistics, const Halves& map, const std::vector<double>& values,
                             double tolerance, int64_t pixels, int64_t channels, bool counts_positives = true) {
  const std::vector<double> held = values_of(map, pixels, channels);
  for (int64_t c = 0; c < channels; ++c) {
    double found[6] = {static_cast<double>(pixels), 0, 0, 0, INFINITY, -INFINITY};
    double magnitude = 0, near_zero = 0;
    for (int64_t p = 0; p < pixels; ++p) {
      const double value = values[index(p * channels + c)];
      found[1] += counts_positives && value > 0;
      near_zero += counts_positives && value != 0 && std::fabs(value) < tolerance;
      found[2] += value;
      found[3] += value * value;
      found[4] = std::min(found[4], held[index(p * channels + c)]);
      found[5] = std::max(found[5], held[index(p * channels + c)]);
      magnitude += std::fabs(value);
    }
    // Sums are of distances from the first value, which may be the largest.
    const double largest = std::max(std::fabs(found[4]), std::fabs(found[5]));
    const double squares = found[3] + 0.1 * static_cast<double>(pixels) * largest * largest;
    const double tolerances[6] = {0, near_zero,
                                  1e-5 * magnitude + 1e-6 + tolerance * static_cast<double>(pixels),
                                  1e-5 * squares + 1e-6 + 2 * tolerance * magnitude,
                                  0, 0};
    for (int s = 0; s < 6; ++s) {
      if (!(std::fabs(statistics[index(s * channels + c)] - found[s]) <= tolerances[s])) {
        std::printf("  statistic %d of channel %d: %.9g, not %.9g\n", s, static_cast<int>(c),
                    statistics[index(s * channels + c)], found[s]);
        return false;
      }
    }
  }
  return true;
}

inline bool padding_is_zero(const Halves& map, int64_t pixels, int64_t channels) {
  const int64_t padded = daq::round_up(channels, daq::kBlock);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = channels; c < padded; ++c) {
      if (from_half(map[index(p * padded + c)]) != 0) return false;
    }
  }
  return true;
}

inline bool close(double found, const Expected& expected, bool half) {
  const double rounding = (half ? 1e-3 : 1e-5) * std::fabs(expected.value) + 1e-4;
  const bool good = std::fabs(found - expected.value) <= expected.tolerance + rounding;
  if (!good) std::printf("  %.7g, not %.7g within %.3g\n", found, expected.value, expected.tolerance + rounding);
  return good;
}
