// Sixteen floats, in the widest registers of the tier that includes this file. Only tier_*.cc may include it: everything
// here is compiled with a tier's instruction set, and must not be shared with code that runs on any processor.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace daq {
namespace {  // one copy a tier

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int kLanes = 16;
constexpr int64_t kFetchedAhead = 32;  // pixels of a map, of what is read or written: memory takes a while
constexpr float kLargestHalf = 65504.0f;

#if defined(__AVX512F__)

constexpr int kParts = 1;
using Part = __m512;

inline Part part_load(const float* p) { return _mm512_loadu_ps(p); }
inline void part_store(float* p, Part v) { _mm512_storeu_ps(p, v); }
inline Part part_set(float x) { return _mm512_set1_ps(x); }
inline Part part_min(Part a, Part b) { return _mm512_min_ps(a, b); }
inline Part part_max(Part a, Part b) { return _mm512_max_ps(a, b); }
inline Part part_fma(Part a, Part b, Part c) { return _mm512_fmadd_ps(a, b, c); }
inline Part part_hold(Part a, Part limit) { return _mm512_range_ps(a, limit, 2); }  // the smaller magnitude, the sign of a
inline Part part_round(Part a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Part part_floor_half(Part a) { return _mm512_roundscale_ps(a, 0x10 | _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline Part part_floor_root(Part a) {
  return _mm512_roundscale_ps(a * _mm512_rsqrt14_ps(a), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
inline Part part_magnitude(Part a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
inline Part part_with_sign(Part magnitude, Part sign) {
  return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
inline Part part_where_negative(Part condition, Part a, Part b) {
  return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(condition, _mm512_setzero_ps(), _CMP_LT_OQ), a);
}
inline Part part_count_positive(Part count, Part a) {
  return _mm512_mask_add_ps(count, _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), count, _mm512_set1_ps(1.0f));
}
inline Part part_times_where_negative(Part a, Part factor) {
  return _mm512_mask_mul_ps(a, _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_LT_OQ), a, factor);
}
inline Part part_from_int(const int32_t* p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
inline Part part_power_of_two(Part whole) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), whole); }
inline Part part_load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Part part_store_half(uint16_t* p, Part v) {
  const __m256i half = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
  return _mm512_cvtph_ps(half);
}
inline void part_store_bytes(uint8_t* p, Part v) {  // values are whole numbers 0..255
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}
inline void part_store_words(int16_t* p, Part v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v)));
}

#elif defined(__AVX2__)

constexpr int kParts = 2;
using Part = __m256;

inline Part part_load(const float* p) { return _mm256_loadu_ps(p); }
inline void part_store(float* p, Part v) { _mm256_storeu_ps(p, v); }
inline Part part_set(float x) { return _mm256_set1_ps(x); }
inline Part part_min(Part a, Part b) { return _mm256_min_ps(a, b); }
inline Part part_max(Part a, Part b) { return _mm256_max_ps(a, b); }
inline Part part_fma(Part a, Part b, Part c) { return _mm256_fmadd_ps(a, b, c); }
inline Part part_hold(Part a, Part limit) { return _mm256_max_ps(_mm256_min_ps(a, limit), -limit); }
inline Part part_round(Part a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Part part_floor_half(Part a) { return _mm256_floor_ps(a + a) * part_set(0.5f); }
inline Part part_floor_root(Part a) { return _mm256_floor_ps(a * _mm256_rsqrt_ps(a)); }
inline Part part_magnitude(Part a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline Part part_with_sign(Part magnitude, Part sign) {
  return _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
inline Part part_where_negative(Part condition, Part a, Part b) { return _mm256_blendv_ps(b, a, condition); }
inline Part part_count_positive(Part count, Part a) {
  return count + _mm256_and_ps(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ), _mm256_set1_ps(1.0f));
}
inline Part part_times_where_negative(Part a, Part factor) {
  return _mm256_blendv_ps(a, a * factor, _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_LT_OQ));
}
inline Part part_from_int(const int32_t* p) {
  return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Part part_power_of_two(Part whole) {  // -126 to 127
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23));
}
inline Part part_load_half(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Part part_store_half(uint16_t* p, Part v) {
  const __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half);
  return _mm256_cvtph_ps(half);
}
inline __m128i words_of(Part v) {
  const __m256i whole = _mm256_cvtps_epi32(v);
  return _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
}
inline void part_store_bytes(uint8_t* p, Part v) {
  const __m128i words = words_of(v);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
inline void part_store_words(int16_t* p, Part v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), words_of(v)); }

#else

// Vectors of four by the compilers' own extension: SSE2, NEON, or whatever the processor has.
constexpr int kParts = 4;
typedef float Part __attribute__((vector_size(16)));
typedef int32_t IntPart __attribute__((vector_size(16)));
typedef uint32_t BitPart __attribute__((vector_size(16)));
typedef uint16_t HalfPart __attribute__((vector_size(8)));

template <class To, class From>
inline To bits_as(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps every bit");
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

inline Part part_load(const float* p) {
  Part v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void part_store(float* p, Part v) { std::memcpy(p, &v, sizeof(v)); }
inline Part part_set(float x) { return Part{x, x, x, x}; }
inline Part part_min(Part a, Part b) { return a < b ? a : b; }
inline Part part_max(Part a, Part b) { return a > b ? a : b; }
inline Part part_fma(Part a, Part b, Part c) { return a * b + c; }
inline Part part_hold(Part a, Part limit) { return part_max(part_min(a, limit), -limit); }
inline Part part_round(Part a) {  // exact and half to even below 2^22: only codes are rounded here
  const Part magic = part_set(12582912.0f);
  Part shifted = a + magic;
  return shifted - magic;
}
inline Part part_floor(Part a) { return __builtin_convertvector(__builtin_convertvector(a, IntPart), Part); }
inline Part part_floor_half(Part a) { return part_floor(a + a) * part_set(0.5f); }
inline Part part_floor_root(Part a) {
  Part root;
  for (int i = 0; i < 4; ++i) root[i] = std::sqrt(a[i]);
  return part_floor(root);
}
inline Part part_magnitude(Part a) { return bits_as<Part>(bits_as<BitPart>(a) & 0x7fffffffu); }
inline Part part_with_sign(Part magnitude, Part sign) {
  return bits_as<Part>(bits_as<BitPart>(magnitude) | (bits_as<BitPart>(sign) & 0x80000000u));
}
inline Part part_where_negative(Part condition, Part a, Part b) { return condition < part_set(0.0f) ? a : b; }
inline Part part_count_positive(Part count, Part a) { return a > part_set(0.0f) ? count + part_set(1.0f) : count; }
inline Part part_times_where_negative(Part a, Part factor) { return a < part_set(0.0f) ? a * factor : a; }
inline Part part_from_int(const int32_t* p) {
  IntPart v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Part);
}
inline Part part_power_of_two(Part whole) { return bits_as<Part>((__builtin_convertvector(whole, IntPart) + 127) << 23); }
inline Part part_load_half(const uint16_t* p) {
  HalfPart stored;
  std::memcpy(&stored, p, sizeof(stored));
  const BitPart half = __builtin_convertvector(stored, BitPart);
  const BitPart magnitude = (half & 0x7fffu) << 13;
  // 2^112 moves the exponent's bias; it makes subnormal halves normal floats too.
  const Part value = bits_as<Part>(magnitude) * part_set(5.192296858534828e33f);
  return bits_as<Part>(bits_as<BitPart>(value) | ((half & 0x8000u) << 16));
}
inline Part part_store_half(uint16_t* p, Part v) {
  const BitPart bits = bits_as<BitPart>(v);
  const BitPart sign = (bits >> 16) & 0x8000u;
  const BitPart magnitude = bits & 0x7fffffffu;
  // Adding a float whose last bit is worth the last bit of the half rounds to it, half to even (also below 2^-14).
  const Part value = bits_as<Part>(magnitude);
  const BitPart exponent = magnitude & 0x7f800000u;
  const BitPart least = BitPart{} + 0x38800000u;  // 2^-14
  const BitPart base = exponent > least ? exponent : least;
  const Part shift = bits_as<Part>(base + (13u << 23));
  Part moved = value + shift;
  const Part rounded = moved - shift;
  const BitPart result = bits_as<BitPart>(rounded * part_set(1.925929944387236e-34f)) >> 13;  // 2^-112
  const HalfPart half = __builtin_convertvector(sign | result, HalfPart);
  std::memcpy(p, &half, sizeof(half));
  return bits_as<Part>(bits_as<BitPart>(rounded) | (sign << 16));
}
inline void part_store_bytes(uint8_t* p, Part v) {
  const IntPart whole = __builtin_convertvector(v, IntPart);
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint8_t>(whole[i]);
}
inline void part_store_words(int16_t* p, Part v) {
  const HalfPart words = __builtin_convertvector(__builtin_convertvector(v, IntPart), HalfPart);
  std::memcpy(p, &words, sizeof(words));
}

#endif

constexpr int kPartLanes = kLanes / kParts;

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
template <class Function, size_t... kIndices, class... Several>
inline LanesOf<sizeof...(kIndices)> lanes_each_of(Function function, std::index_sequence<kIndices...>, const Several&... lanes) {
  const auto result = [&](auto index) { return function(lanes.part[index % (sizeof(lanes) / sizeof(Part))]...); };
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
// Returns what was stored.
inline Lanes lanes_store_half(uint16_t* p, const Lanes& a) {
  Lanes r;
  DAQ_EACH_PART r.part[i] = part_store_half(p + i * kPartLanes, a.part[i]);
  return r;
}
inline void lanes_store_bytes(uint8_t* p, const Lanes& a) {
  DAQ_EACH_PART part_store_bytes(p + i * kPartLanes, a.part[i]);
}
inline void lanes_store_words(int16_t* p, const Lanes& a) {
  DAQ_EACH_PART part_store_words(p + i * kPartLanes, a.part[i]);
}

#define DAQ_LANES_UNARY(name, expression)                                   \
  template <size_t kCount>                                                     \
  inline LanesOf<kCount> name(const LanesOf<kCount>& x) {                   \
    return lanes_each([](const Part& a) -> Part { return expression; }, x); \
  }
DAQ_LANES_UNARY(lanes_round, part_round(a))
DAQ_LANES_UNARY(lanes_magnitude, part_magnitude(a))
// Of what is not negative: down to a half; and the whole part of the root, of which a tier may know no more than 0.0004 of it.
DAQ_LANES_UNARY(lanes_floor_half, part_floor_half(a))
DAQ_LANES_UNARY(lanes_floor_root, part_floor_root(a))
// Held within the largest halves; NaN becomes one of them.
DAQ_LANES_UNARY(lanes_hold_half, part_hold(a, part_set(kLargestHalf)))
#undef DAQ_LANES_UNARY

#define DAQ_LANES_BINARY(name, expression)                                                    \
  template <size_t kCount, size_t kOther>                                                           \
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
