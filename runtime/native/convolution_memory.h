// The working memory of a convolution; private to convolution*.cc.

#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "convolution.h"

namespace daq {

constexpr int64_t kAlignment = 64;
constexpr int64_t kSideSlack = 3;  // sums that are read past those side by side
constexpr int64_t kHalfBytes = 2, kLineBytes = 64;  // of a value of a native map; of a line of a cache

// Grows `memory` to hold `count` aligned items.
template <class T>
T* aligned(std::vector<uint8_t>& memory, int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(T) + kAlignment;
  if (memory.size() < bytes) memory.resize(bytes);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<T*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

struct Convolution::Folded {
  std::vector<float> lo, inverse_step, shift, highest, origin;  // of each position of a pixel of codes
  std::vector<float> furthest;                      // of each source: see Quantizer
  std::vector<float> factors, element_lo, centre;   // step over shift, lo, usual shifted code: of each position
  std::vector<float> scale;                         // of each output position
  std::vector<float> offsets;                       // (kernel height, kernel width, padded outputs): what lo adds at a tap
  std::vector<float> inner_bias;                    // (padded outputs), all taps inside the picture
  std::vector<float> group_lo, group_inverse_step, group_highest, group_origin, group_shift;  // see FeedbackQuantizer
  std::vector<float> coefficients;
  std::vector<uint8_t> memory;
  uint8_t* packed = nullptr;
  int64_t block_bytes = 0;
  int64_t run = 0;  // which of all runs it belongs to
};

struct Convolution::Band {
  // Whether it was used last for the rows of the output before `row`, whose codes are read again.
  bool continues(const Folded& folded, int64_t row) const { return run == folded.run && next_row == row; }

  int64_t run = 0, next_row = 0;  // after those that it was used for last
  std::vector<uint8_t> code_memory, sum_memory, side_memory;
  uint8_t* ring = nullptr;      // rows of codes
  uint8_t* zeros = nullptr;     // a row of padding
  uint8_t* unpaired = nullptr;  // where a row is quantized before it is paired
  int64_t row_bytes = 0, width = 0;  // of a row of codes; of the output
  std::vector<int64_t> held_rows;  // the row of the picture in each slot of the ring
  std::vector<char> valid_rows;    // whether each row of the kernel lies inside the picture
  std::vector<const uint8_t*> segments;
  std::vector<float> row_offsets;  // (kernel width, padded outputs)
  std::vector<float> bias;         // (1 + border pixels, padded outputs): the first inside, the others from left to right
  std::vector<int16_t> fold_scratch, side_weights;
  std::vector<uint8_t> side_packed;   // a block of these
  std::vector<uint16_t> pixels;       // (kFeedbackPixels, channels) that are quantized with error feedback
  std::vector<float> errors;          // of these
  std::vector<uint8_t> codes;         // of these
  std::vector<float> carry, offsets;  // of an output channel that is folded
  int64_t left = 0, right = 0;     // pixels before and from which a tap leaves the picture
  int32_t* sums = nullptr;       // of chunks
  int32_t* side_sums = nullptr;  // of a row of pixels: (pixels, side blocks, planes, kBlock)
  float* values = nullptr;
};

// One for all convolutions of the process, as long as there are any: layers run one after another, and the next finds the
// memory of the last still in the caches.
struct Convolution::Workspace {
  static std::shared_ptr<Workspace> shared();

  std::atomic<int64_t> runs{0};
  Pool<Folded> folded;
  Pool<Band> bands;
};

struct Convolution::NewRow {
  int64_t row;        // of the input
  int64_t quantized;  // pixels
  uint8_t* codes;     // of its first pixel
};

struct Convolution::Chunk {
  int64_t x;
  int pixels, first_block, blocks;
  int32_t* sums;  // (pixels, blocks, planes, kBlock)
};

struct Convolution::Row {
  const ConvolutionRun& run;
  int64_t y;
  bool first;  // of its band
  bool past_caches;  // whether the whole map is larger than what is left in caches
  const Epilogue& epilogue;
  const Accumulation& accumulation;
  const Band& band;
  BandStatistics* statistics;  // or null
};

}  // namespace daq
