// Sixteen floats, in one or more parts. Only tier_*.cc may include it, as parts.h.

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "parts.h"

namespace daq {
namespace {  // one copy a tier

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int kLanes = 16;
constexpr int kPartLanes = kLanes / kParts;
constexpr int64_t kFetchedAhead = 32;  // pixels of a map, of what is read or written: memory takes a while
constexpr float kLargestHalf = 65504.0f;

// Sixteen floats, or several times sixteen. What is done to several is done to all of them before what comes next begins:
// of a few long chains, in which each operation waits for the one before it, a processor sees no more than the first.
template <size_t kCount>
struct LanesOf {
  Part part[kCount];
};
using Lanes = LanesOf<kParts>;

constexpr int kInStep = 8 / kParts;  // so many times sixteen floats are done in step best

// Compilers would take one chain after the other.
inline Part part_in_step(Part a) {
#if defined(__AVX2__)
  __asm__ volatile("" : "+v"(a));
#endif
  return a;
}

// Calls `function` for each part; of fewer parts than there are of others the first is used again after the last. Without a
// loop: compilers keep what is indexed by one in memory.
template <class Function, size_t... kIndices, size_t... kCounts>
inline auto lanes_each_of(Function function, std::index_sequence<kIndices...>, const LanesOf<kCounts>&... lanes) {
  const auto result = [&](auto index) { return function(lanes.part[index % kCounts]...); };
  LanesOf<sizeof...(kIndices)> r = {{result(std::integral_constant<size_t, kIndices>{})...}};
  if constexpr (sizeof...(kIndices) > kParts) r = {{part_in_step(r.part[kIndices])...}};
  return r;
}
template <class Function, size_t... kCounts>
inline auto lanes_each(Function function, const LanesOf<kCounts>&... lanes) {
  return lanes_each_of(function, std::make_index_sequence<std::max({kCounts...})>{}, lanes...);
}

template <size_t kCount>
inline Lanes lanes_at(const LanesOf<kCount>& several, int index) {
  Lanes r;
  for (int i = 0; i < kParts; ++i) r.part[i] = several.part[index * kParts + i];
  return r;
}
template <size_t kCount>
inline void lanes_put(LanesOf<kCount>& several, int index, const Lanes& a) {
  for (int i = 0; i < kParts; ++i) several.part[index * kParts + i] = a.part[i];
}

// Calls `function(first, how_many)` for kMost of `count` at a time, then for half as many, down to one.
template <int kMost, class Function>
inline void for_groups(int64_t count, Function function, int64_t first = 0) {
  for (; first + kMost <= count; first += kMost) function(first, std::integral_constant<int, kMost>{});
  if constexpr (kMost > 1) {
    if (first < count) for_groups<kMost / 2>(count, function, first);
  }
}

#define DAQ_EACH_PART for (int i = 0; i < kParts; ++i)

inline Lanes lanes_load(const float* p) {
  Lanes r;
  DAQ_EACH_PART r.part[i] = part_load(p + i * kPartLanes);
  return r;
}
inline void lanes_store(float* p, const Lanes& a) { DAQ_EACH_PART part_store(p + i * kPartLanes, a.part[i]); }
inline Lanes lanes_set(float x) {
  Lanes r;
  DAQ_EACH_PART r.part[i] = part_set(x);
  return r;
}
inline Lanes lanes_from_int(const int32_t* p) {
  Lanes r;
  DAQ_EACH_PART r.part[i] = part_from_int(p + i * kPartLanes);
  return r;
}
inline Lanes lanes_load_half(const uint16_t* p) {
  Lanes r;
  DAQ_EACH_PART r.part[i] = part_load_half(p + i * kPartLanes);
  return r;
}
inline void lanes_store_half(uint16_t* p, const Lanes& a) {
  DAQ_EACH_PART part_store_half(p + i * kPartLanes, a.part[i]);
}
// Rounded to half precision.
inline Lanes lanes_as_half(const Lanes& a) {
  uint16_t half[kLanes];
  lanes_store_half(half, a);
  return lanes_load_half(half);
}
inline void lanes_store_bytes(uint8_t* p, const Lanes& a) {
  DAQ_EACH_PART part_store_bytes(p + i * kPartLanes, a.part[i]);
}
inline void lanes_store_words(int16_t* p, const Lanes& a) {
  DAQ_EACH_PART part_store_words(p + i * kPartLanes, a.part[i]);
}

#define DAQ_LANES_UNARY(name, expression)                                   \
  template <size_t kCount>                                                  \
  inline LanesOf<kCount> name(const LanesOf<kCount>& x) {                   \
    return lanes_each([](const Part& a) -> Part { return expression; }, x); \
  }
DAQ_LANES_UNARY(lanes_round, part_round(a))
DAQ_LANES_UNARY(lanes_magnitude, part_magnitude(a))
DAQ_LANES_UNARY(lanes_reciprocal, part_reciprocal(a))
// Of what is not negative: down to a half; and the whole part of the root, of which a tier may know no more than 0.0004 of it.
DAQ_LANES_UNARY(lanes_floor_half, part_floor_half(a))
DAQ_LANES_UNARY(lanes_floor_root, part_floor_root(a))
// Held within the largest halves; NaN becomes one of them.
DAQ_LANES_UNARY(lanes_hold_half, part_hold(a, part_set(kLargestHalf)))
#undef DAQ_LANES_UNARY

#define DAQ_LANES_BINARY(name, expression)                                                    \
  template <size_t kCount, size_t kOther>                                                     \
  inline auto name(const LanesOf<kCount>& x, const LanesOf<kOther>& y) {                      \
    return lanes_each([](const Part& a, const Part& b) -> Part { return expression; }, x, y); \
  }
DAQ_LANES_BINARY(operator+, a + b)
DAQ_LANES_BINARY(operator-, a - b)
DAQ_LANES_BINARY(operator*, a * b)
DAQ_LANES_BINARY(operator/, a / b)
DAQ_LANES_BINARY(lanes_min, part_min(a, b))  // b where either is NaN
DAQ_LANES_BINARY(lanes_max, part_max(a, b))  // b where either is NaN
// x where it is not negative, else x * y.
DAQ_LANES_BINARY(lanes_times_where_negative, part_times_where_negative(a, b))
DAQ_LANES_BINARY(lanes_count_positive, part_count_positive(a, b))  // x, plus 1 where y is positive
DAQ_LANES_BINARY(lanes_with_sign, part_with_sign(a, b))  // the magnitude x, which is not negative, with the sign of y
#undef DAQ_LANES_BINARY

template <size_t kA, size_t kB, size_t kC>
inline auto lanes_fma(const LanesOf<kA>& a, const LanesOf<kB>& b, const LanesOf<kC>& c) {
  return lanes_each([](const Part& x, const Part& y, const Part& z) { return part_fma(x, y, z); }, a, b, c);
}
// a where the condition is negative, else b.
template <size_t kCondition, size_t kA, size_t kB>
inline auto lanes_where_negative(const LanesOf<kCondition>& condition, const LanesOf<kA>& a, const LanesOf<kB>& b) {
  return lanes_each([](const Part& x, const Part& y, const Part& z) { return part_where_negative(x, y, z); }, condition, a, b);
}
// e^x. Relative error below 2e-7; x is held within +-87, where the result is a normal number.
inline Lanes lanes_exp(const Lanes& x) {
  const Lanes held = lanes_max(lanes_min(x, lanes_set(87.0f)), lanes_set(-87.0f));
  const Lanes whole = lanes_round(held * lanes_set(1.44269504f));
  // ln 2 in two parts, so that the remainder is exact.
  const Lanes rest = lanes_fma(whole, lanes_set(2.12194440e-4f), lanes_fma(whole, lanes_set(-0.693359375f), held));
  Lanes series = lanes_set(1.0f / 720.0f);
  constexpr float kCoefficients[] = {1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
  for (const float coefficient : kCoefficients) {
    series = lanes_fma(series, rest, lanes_set(coefficient));
  }
  Lanes power;
  DAQ_EACH_PART power.part[i] = part_power_of_two(whole.part[i]);
  return series * power;
}

#undef DAQ_EACH_PART

}  // namespace
}  // namespace daq
