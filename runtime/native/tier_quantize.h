// Half-precision pixels to codes. A part of tier.h.

#pragma once

#include "kernels.h"
#include "lanes.h"

namespace daq {
namespace {  // one copy a tier

// The companded level nearest to a position, both in units above the lowest level; see companding.h. Levels k and k + 1 are
// parted at (k + 3)^2 - 6 half units from the origin: a whole number, so that whole half units tell the level, and with another
// half they are never so near a square that an estimate of their root could be on its other side.
template <size_t kCount, size_t kOrigins>
inline LanesOf<kCount> companded_level(const LanesOf<kCount>& position, const LanesOf<kOrigins>& origin) {
  const auto distance = position - origin;
  const auto whole = lanes_floor_half(lanes_magnitude(distance));
  const auto root = lanes_floor_root(lanes_fma(whole, lanes_set(2.0f), lanes_set(6.5f)));  // level + 2
  const auto from_origin = lanes_fma(lanes_fma(root, root, root), lanes_set(0.5f), lanes_set(-3.0f));
  return origin + lanes_with_sign(from_origin, distance);
}

// The same, and a position as it is where levels are even.
template <size_t kCount, size_t kOrigins>
inline LanesOf<kCount> nearest_level(const LanesOf<kCount>& position, const LanesOf<kOrigins>& origin) {
  return lanes_where_negative(origin, position, companded_level(position, origin));
}

// Codes of up to 16 channels of a run of pixels: `kBytes` are written a pixel.
template <bool kCompanded, bool kWords, int kBytes>
void quantize_block(const Quantizer& quantizer, int64_t first, const uint16_t* pixels, int64_t stride, int64_t readable,
                    int64_t count, uint8_t* codes, int64_t code_stride) {
  const Lanes lo = lanes_load(quantizer.lo + first);
  const Lanes inverse_step = lanes_load(quantizer.inverse_step + first);
  const Lanes highest = lanes_load(quantizer.highest + first);
  const Lanes origin = lanes_load((kCompanded ? quantizer.origin : quantizer.lo) + first);
  const Lanes shift = lanes_load(quantizer.shift + first);
  const Lanes zero = lanes_set(0.0f);
  uint16_t held[kLanes] = {};
  for_groups<kInStep>(count, [&](int64_t x, auto together) {
    constexpr int kTogether = decltype(together)::value;
    LanesOf<kTogether * kParts> values;
#pragma GCC unroll 8
    for (int i = 0; i < kTogether; ++i) {
      const uint16_t* source = pixels + (x + i) * stride;
      if (readable < kLanes) {  // a slice at the end of a pixel, which must not be read past
        std::memcpy(held, source, static_cast<size_t>(readable) * sizeof(uint16_t));
        source = held;
      }
      lanes_put(values, i, lanes_load_half(source));
    }
    // NaN goes to zero, as in QuantizeLinear.
    auto position = lanes_min(lanes_max((values - lo) * inverse_step, zero), highest);
    if constexpr (kCompanded) position = nearest_level(position, origin);
    const auto code = lanes_round(position) * shift;
#pragma GCC unroll 8
    for (int i = 0; i < kTogether; ++i) {
      alignas(64) uint8_t whole[kLanes * 2];
      uint8_t* target = codes + (x + i) * code_stride;
      constexpr bool kPartial = kBytes < kLanes * (kWords ? 2 : 1);
      if constexpr (kWords) {
        lanes_store_words(reinterpret_cast<int16_t*>(kPartial ? whole : target), lanes_at(code, i));
      } else {
        lanes_store_bytes(kPartial ? whole : target, lanes_at(code, i));
      }
      if constexpr (kPartial) std::memcpy(target, whole, kBytes);
    }
  });
}

#if defined(__AVX512BW__)
// Whole numbers of 64 channels as bytes; what is less than 0 becomes 0.
inline __m512i packed_bytes(const __m512i (&whole)[4]) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_packus_epi32(whole[0], whole[1]), high = _mm512_packus_epi32(whole[2], whole[3]);
  return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
}

// Bytes of 64 channels are shifted by doubling.
class Doublings {
 public:
  explicit Doublings(const float* shift) {
    __m512i exponents[4];
    for (int b = 0; b < 4; ++b) exponents[b] = _mm512_cvtps_epi32(_mm512_getexp_ps(part_load(shift + b * kLanes)));
    const __m512i times = packed_bytes(exponents);
    while ((doubled_[count_] = _mm512_cmpgt_epu8_mask(times, _mm512_set1_epi8(static_cast<char>(count_)))) != 0) ++count_;
  }
  __m512i of(__m512i code) const {
    for (int i = 0; i < count_; ++i) code = _mm512_mask_add_epi8(code, doubled_[i], code, code);
    return code;
  }

 private:
  __mmask64 doubled_[8];
  int count_ = 0;
};

// A pixel of 64 channels fills two lines of a cache.
inline void fetch_pixel(const uint16_t* pixel) {
  __builtin_prefetch(pixel);
  __builtin_prefetch(pixel + 32);
}

// The distance from the origin to the level nearest to m half units from it: levels k and k + 1 are parted by (k^2 + 6 k + 3) / 2.
struct LevelTable {
  alignas(64) uint8_t distance[256];
  constexpr LevelTable() : distance() {
    int level = 0;
    for (int m = 0; m < 256; ++m) {
      if (level * level + 6 * level + 3 <= m) ++level;
      distance[m] = static_cast<uint8_t>(level * (level + 5) / 2);
    }
  }
};
constexpr LevelTable kLevelTable;

#if defined(__AVX512VBMI__)
class Levels {
 public:
  Levels() {
    for (int i = 0; i < 4; ++i) table_[i] = _mm512_load_si512(kLevelTable.distance + 64 * i);
  }
  // The distances of 64 m. kNear: all are below 128.
  template <bool kNear>
  __m512i distance(__m512i m) const {
    const __m512i near = _mm512_permutex2var_epi8(table_[0], m, table_[1]);
    if constexpr (kNear) return near;
    return _mm512_mask_mov_epi8(near, _mm512_movepi8_mask(m), _mm512_permutex2var_epi8(table_[2], m, table_[3]));
  }

 private:
  __m512i table_[4];
};
#else
// Tables of 16 bytes are all that can be looked up without VBMI: of runs of eight m, of which none begins more than one level.
struct LevelRuns {
  alignas(16) uint8_t first[32], next[32], more[32];  // distance of the first; the m from which on it is more, and by how much
  constexpr LevelRuns() : first(), next(), more() {
    for (int m = 0; m < 256; ++m) {
      const int run = m / 8, distance = kLevelTable.distance[m];
      if (m % 8 == 0) first[run] = static_cast<uint8_t>(distance);
      if (distance == first[run] + more[run]) continue;
      next[run] = static_cast<uint8_t>(m);
      more[run] = static_cast<uint8_t>(distance - first[run]);
    }
  }
};
constexpr LevelRuns kLevelRuns;

constexpr bool runs_hold_the_table() {
  for (int m = 0; m < 256; ++m) {
    const int run = m / 8, more = m >= kLevelRuns.next[run] ? kLevelRuns.more[run] : 0;
    if (kLevelRuns.first[run] + more != kLevelTable.distance[m]) return false;
  }
  return true;
}
static_assert(runs_hold_the_table());

class Levels {
 public:
  Levels() {
    const uint8_t* tables[] = {kLevelRuns.first, kLevelRuns.next, kLevelRuns.more};
    for (int i = 0; i < 3; ++i) {
      near_[i] = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tables[i])));
      far_[i] = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tables[i] + 16)));
    }
  }
  // The distances of 64 m. kNear: all are below 128.
  template <bool kNear>
  __m512i distance(__m512i m) const {
    const __m512i run = _mm512_and_si512(_mm512_srli_epi16(m, 3), _mm512_set1_epi8(15));
    const __mmask64 is_far = kNear ? 0 : _mm512_movepi8_mask(m);
    const auto look_up = [&](int i) {
      const __m512i found = _mm512_shuffle_epi8(near_[i], run);
      return kNear ? found : _mm512_mask_shuffle_epi8(found, is_far, far_[i], run);
    };
    const __m512i first = look_up(0);
    return _mm512_mask_add_epi8(first, _mm512_cmpge_epu8_mask(m, look_up(1)), first, look_up(2));
  }

 private:
  __m512i near_[3], far_[3];
};
#endif

// Companded codes of 49 to 64 channels, none of which has even levels: they are looked up in half units above the lowest.
// kNear: none is 128 half units or more from its origin.
template <bool kNear>
void quantize_four_companded(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t count, uint8_t* codes,
                             int64_t code_stride) {
  __m512 lo[4], inverse_half_unit[4], highest[4];
  __m512i origins[4];
  for (int b = 0; b < 4; ++b) {
    lo[b] = part_load(quantizer.lo + b * kLanes);
    inverse_half_unit[b] = part_load(quantizer.inverse_step + b * kLanes) * part_set(2.0f);
    highest[b] = part_load(quantizer.highest + b * kLanes) * part_set(2.0f);
    origins[b] = _mm512_cvtps_epi32(part_load(quantizer.origin + b * kLanes));
  }
  const Doublings doublings(quantizer.shift);
  const __m512i origin = packed_bytes(origins), above = _mm512_add_epi8(origin, origin);
  const __m512i below = _mm512_subs_epu8(above, _mm512_set1_epi8(1));
  const Levels levels;
  for (int64_t x = 0; x < count; ++x) {
    fetch_pixel(pixels + (x + kFetchedAhead) * stride);
    __m512i whole[4];
    for (int b = 0; b < 4; ++b) {
      const __m512 position = (part_load_half(pixels + x * stride + b * kLanes) - lo[b]) * inverse_half_unit[b];
      // NaN stays, and becomes the least integer; what is negative is packed as 0.
      whole[b] = _mm512_cvt_roundps_epi32(part_min(highest[b], position), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    }
    const __m512i position = packed_bytes(whole);
    const __m512i magnitude = _mm512_or_si512(_mm512_subs_epu8(position, above), _mm512_subs_epu8(below, position));
    const __m512i distance = levels.distance<kNear>(magnitude);
    const __m512i code = _mm512_mask_sub_epi8(_mm512_add_epi8(origin, distance), _mm512_cmplt_epu8_mask(position, above),
                                              origin, distance);
    _mm512_storeu_si512(codes + x * code_stride, doublings.of(code));
  }
}

// Bytes of 49 to 64 channels, packed together; 64 are written.
template <bool kCompanded>
void quantize_four_blocks(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t count, uint8_t* codes,
                          int64_t code_stride) {
  const auto load = [](const float* of_channels) {
    LanesOf<4> values;
    for (int b = 0; b < 4; ++b) values.part[b] = part_load(of_channels + b * kLanes);
    return values;
  };
  const LanesOf<4> lo = load(quantizer.lo), inverse_step = load(quantizer.inverse_step), highest = load(quantizer.highest);
  const LanesOf<4> origin = load(kCompanded ? quantizer.origin : quantizer.lo);
  const Doublings doublings(quantizer.shift);
  for_groups<kInStep / 4>(count, [&](int64_t x, auto together) {
    constexpr int kTogether = decltype(together)::value;
    LanesOf<4 * kTogether> values;
    for (int i = 0; i < kTogether; ++i) {
      fetch_pixel(pixels + (x + i + kFetchedAhead) * stride);
      for (int b = 0; b < 4; ++b) values.part[4 * i + b] = part_load_half(pixels + (x + i) * stride + b * kLanes);
    }
    // NaN stays, and becomes the least integer; what is negative is packed as 0.
    auto held = lanes_min(highest, (values - lo) * inverse_step);
    if constexpr (kCompanded) held = nearest_level(lanes_max(held, lanes_set(0.0f)), origin);
    for (int i = 0; i < kTogether; ++i) {
      __m512i code[4];
      for (int b = 0; b < 4; ++b) code[b] = _mm512_cvtps_epi32(held.part[4 * i + b]);
      _mm512_storeu_si512(codes + (x + i) * code_stride, doublings.of(packed_bytes(code)));
    }
  });
}
#endif

template <bool kCompanded, bool kWords>
void quantize_as(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t readable, int64_t count,
                 uint8_t* codes, int64_t code_stride) {
  constexpr int kSize = kWords ? 2 : 1;
  for (int64_t first = 0; first < quantizer.channels; first += kLanes) {
    const auto run = [&](auto block) {
      block(quantizer, first, pixels + first, stride, readable - first, count, codes + first * kSize, code_stride);
    };
    // The padding of the last step is written, as zeros: highest is 0 there.
    switch (smaller(round_up(quantizer.channels - first, 4), kLanes)) {
      case 4: run(quantize_block<kCompanded, kWords, 4 * kSize>); break;
      case 8: run(quantize_block<kCompanded, kWords, 8 * kSize>); break;
      case 12: run(quantize_block<kCompanded, kWords, 12 * kSize>); break;
      default: run(quantize_block<kCompanded, kWords, 16 * kSize>); break;
    }
  }
}

template <bool kCompanded>
void quantize_levels(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t readable, int64_t count,
                     CodeFormat format, uint8_t* codes, int64_t code_stride) {
  if (is_words(format)) {
    quantize_as<kCompanded, true>(quantizer, pixels, stride, readable, count, codes, code_stride);
  } else {
#if defined(__AVX512BW__)
    // Zeros past the last channel are overwritten with the next source or pixel.
    const bool four_blocks = quantizer.channels > 3 * kLanes && quantizer.channels <= 4 * kLanes;
    if (quantizer.begins_pixel && four_blocks && readable >= 4 * kLanes) {
      if constexpr (kCompanded) {
        const auto companded = quantizer.furthest < 64.0f ? quantize_four_companded<true> : quantize_four_companded<false>;
        if (quantizer.furthest < INFINITY) return companded(quantizer, pixels, stride, count, codes, code_stride);
      }
      return quantize_four_blocks<kCompanded>(quantizer, pixels, stride, count, codes, code_stride);
    }
#endif
    quantize_as<kCompanded, false>(quantizer, pixels, stride, readable, count, codes, code_stride);
  }
}

void quantize(const Quantizer& quantizer, const uint16_t* pixels, int64_t stride, int64_t readable, int64_t count,
              CodeFormat format, uint8_t* codes, int64_t code_stride) {
  const auto levels = quantizer.origin == nullptr ? quantize_levels<false> : quantize_levels<true>;
  levels(quantizer, pixels, stride, readable, count, format, codes, code_stride);
}

void pair(const uint8_t* codes, int64_t code_stride, int64_t channels, int64_t pairs, uint8_t* paired) {
  constexpr int kPiece = kSlack;
  // Whole pieces: what they write past the end of a run is written again with the next.
  const auto run = [channels](const uint8_t* __restrict a, const uint8_t* __restrict b, int sign, int zero,
                              uint8_t* __restrict target) {
    for (int64_t c = 0; c < channels; c += kPiece) {
      for (int i = 0; i < kPiece; ++i) target[c + i] = static_cast<uint8_t>(a[c + i] + sign * b[c + i] + zero);
    }
  };
  for (int64_t p = 0; p < pairs; ++p) {
    const uint8_t* d0 = codes + 2 * p * code_stride;
    const uint8_t *d1 = d0 + code_stride, *d2 = d1 + code_stride, *d3 = d2 + code_stride;
    uint8_t* target = paired + p * kPairProducts * channels;
    run(d0, d2, -1, kPairZero, target);
    run(d1, d2, 1, 0, target + channels);
    run(d2, d1, -1, kPairZero, target + 2 * channels);
    run(d1, d3, -1, kPairZero, target + 3 * channels);
  }
}

}  // namespace
}  // namespace daq
