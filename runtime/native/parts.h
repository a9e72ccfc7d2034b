// The widest registers of floats of the tier that includes this file, a `Part` each. Only tier_*.cc may include it: everything
// here is compiled with a tier's instruction set, and must not be shared with code that runs on any processor.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace daq {
namespace {  // one copy a tier

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
// Of what is finite and not zero: an estimate of 14 bits, and a step of Newton's. A division takes three times as long.
inline Part part_reciprocal(Part a) {
  const Part estimate = _mm512_rcp14_ps(a);
  return part_fma(estimate, _mm512_fnmadd_ps(a, estimate, _mm512_set1_ps(1.0f)), estimate);
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
inline __m256i halves_of(Part v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline void part_store_half(uint16_t* p, Part v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves_of(v)); }
// A line of a cache, past the caches: p begins one.
inline void part_stream_half(uint16_t* p, Part a, Part b) {
  const __m512i line = _mm512_inserti64x4(_mm512_castsi256_si512(halves_of(a)), halves_of(b), 1);
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), line);
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
inline Part part_reciprocal(Part a) { return part_set(1.0f) / a; }
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
inline void part_store_half(uint16_t* p, Part v) {
  const __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half);
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
inline Part part_reciprocal(Part a) { return part_set(1.0f) / a; }
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
inline void part_store_half(uint16_t* p, Part v) {
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

}  // namespace
}  // namespace daq
