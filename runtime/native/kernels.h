// What a tier (an instruction set) provides, and the plain data that it works on. Layouts are described in docs/kernels.md.

#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace daq {

constexpr int kBlock = 16;             // output channels that are computed together, and the padding of native maps
constexpr int kLargestChunk = 320;     // pixels of a row that are summed, then finished, at most
constexpr int kBlocksTogether = 4;     // and blocks of output channels
constexpr int kStepCodes = 4;          // bytes of codes of one step
constexpr int kStepBytes = 64;         // its weights: 16 output channels x 4 bytes
constexpr int kReadPast = 3;           // pixels of codes that may be read past the end of a row
constexpr int kSlack = 64;             // bytes past a row of codes that may be read, and by `quantize` and `pair` written

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Height or width of what a convolution gives, as Conv of ONNX has it; `axis` is 0 for height, 1 for width.
template <class Parameters>
int64_t convolved_size(const Parameters& parameters, int axis, int64_t input, int64_t kernel) {
  const int64_t reach = parameters.dilations[axis] * (kernel - 1) + 1;
  return (input + parameters.pads[axis] + parameters.pads[axis + 2] - reach) / parameters.strides[axis] + 1;
}

// How codes and folded weights are stored.
//   bytes       unsigned 8-bit codes, signed 8-bit weights; a step is 4 input channels
//   two_planes  the same, each weight in two planes: 256 * high + low
//   words       16-bit codes and weights; a step is 2 input channels
//   rows        16-bit codes and weights, the weights of an output channel one after the other
//   pairs       the same for three taps side by side: two outputs from four products instead of six (Winograd's minimal
//               filtering F(2, 3); Lavin and Gray, CVPR 2016)
//   quads       the same: four outputs from six products instead of twelve (F(4, 3)), of weights that are less exact
//   byte_pairs  the same filtering in bytes: what is multiplied, sums and differences of codes, is stored instead of codes,
//               see `pair`, and weights are rounded after their transformation; a step is 4 input channels
enum class CodeFormat { bytes, two_planes, words, rows, pairs, quads, byte_pairs };

constexpr int kPairProducts = 4;                                         // of the two outputs of a pair and a kernel row
constexpr int kPairZero = 128;                                           // what stands for a difference of zero
constexpr int64_t kPairCorrection = 2 * kBlock * sizeof(int32_t);        // bytes behind the packed weights of a block

// Whether codes and weights are stored in 16 bits, and whether the weights of an output channel lie one after the other.
constexpr bool is_words(CodeFormat format) {
  return format != CodeFormat::bytes && format != CodeFormat::two_planes && format != CodeFormat::byte_pairs;
}
constexpr bool is_by_output(CodeFormat format) { return is_words(format) && format != CodeFormat::words; }

enum class Activation { none, relu, slope, sigmoid, tanh };
enum class Operand { none, add, multiply };

// How the channels of one feature map become codes: arrays of `channels` floats, padded to a multiple of kBlock.
struct Quantizer {
  int64_t channels;
  const float* lo;
  const float* inverse_step;
  const float* highest;  // code
  const float* origin;   // of companded levels, or null: see companding.h
  const float* shift;    // power of two that codes are multiplied by, to use spare bits
  bool begins_pixel;     // whether they come first in a pixel of codes
  float furthest;        // companded code from its origin; infinity where any channel has even levels
};

constexpr int kFeedbackGroup = 8;    // channels that are rounded together where errors are fed back
constexpr int kFeedbackRun = 8;      // pixels of a row of which each is moved by the errors of the one before it
constexpr int kFeedbackPixels = 16;  // pixels that are quantized at a time then, each of another run

// How channels become codes where those rounded later make good what those before them lost, in steps: the oracle is
// daq_deploy/numerics/error_feedback.py. What is said of a group stands in the order of rounding.
struct FeedbackQuantizer {
  int64_t channels;              // of a pixel, padded to whole groups
  const int64_t* first_channel;  // of each group
  const float* lo;               // this and the next four: of each group's channels, twice, for two pixels
  const float* inverse_step;
  const float* highest;
  const float* origin;
  const float* shift;
  int64_t left_channels;         // of the pixel to the left, that its errors move this one: all or 0
  // Of each two groups: (channels of the pixel to the left, then of the groups before the two; 2 kFeedbackGroup), then those
  // by which the first moves the second, (kFeedbackGroup, kFeedbackGroup). Of an odd number of groups the first stands alone,
  // with rows of kFeedbackGroup.
  const float* coefficients;
  bool companded;
};

// Where the inputs of a row of outputs lie: a segment is one row of the kernel, or one tap where it is dilated; or a single step
// of one, where the tier asks for that.
struct Accumulation {
  int segments;
  const uint8_t* const* codes;    // of each segment, for output pixel 0
  int64_t advance;                // bytes from one output pixel to the next
  int64_t steps;                  // of each segment: a step of each product where segments are single steps
  const void* weights;            // packed
  const float* valid;             // of each output channel: 0 for padding
};

// What follows the sums. Per-channel arrays are padded to whole blocks.
struct Epilogue {
  const float* scale;
  const float* slope;
  const float* valid;  // 1 for a channel, 0 for padding
  Activation activation;
  Operand operand;
  bool operand_first;
  bool two_planes;
};

// Statistics of a row of values, of padded channels: sums are of the distances from `pivot`. They and positives are of values
// before they are rounded to half precision, extremes after.
struct RowStatistics {
  float* pivot;
  float* positives;  // or null: nobody reads how many there are
  float* total;
  float* total_squares;
  float* minimum;
  float* maximum;
};

// A run of output pixels of one row, and one block of 16 channels, or as many as `finished_together` that follow one another.
struct Finish {
  int64_t pixels;
  int blocks;                       // finish_float does one
  const int32_t* accumulators;      // of the first block, for pixel 0; two_planes: low plane 16 further
  int64_t accumulator_stride;       // between pixels
  const float* bias;                // of the block, for pixel 0
  int64_t bias_stride;              // between pixels: 0 inside the picture
  const uint16_t* operand;          // half precision, of the block, for pixel 0; or null
  int64_t operand_stride;
  uint16_t* half_output;            // or null
  float* float_output;              // or null
  int64_t output_stride;
  int channel;                      // first of the block, into the arrays of Epilogue
  bool past_caches;                 // half_output may be written past the caches: several blocks begin a line there
  bool sets_pivot;                  // the first value of each channel becomes its pivot, rounded to half precision
  const RowStatistics* statistics;  // or null; indexed by `channel` too
};

struct Kernels {
  Isa isa;
  int chunk;   // pixels of a row that are summed before any is finished, at most kLargestChunk
  int blocks;  // and blocks, at most kBlocksTogether
  bool single_steps;  // whether a segment of Accumulation is a step: its codes are found by one loop instead of two

  // The format for codes up to `largest_code` and so many neighbouring taps a segment, and the largest code it may be
  // shifted to. A row of codes may be read kReadPast pixels past its end.
  CodeFormat (*format)(int largest_code, bool exact, int64_t neighbours);
  int (*largest_shifted_code)(int largest_code, CodeFormat format);
  int (*largest_weight)(int largest_code, int64_t products, CodeFormat format);
  int64_t (*steps)(int64_t elements, CodeFormat format);  // of a segment of `elements` input values

  // Pixels of a half-precision row to codes; `stride` and `code_stride` in elements and bytes between pixels, `readable`
  // the elements of a pixel from its first channel on.
  void (*quantize)(const Quantizer&, const uint16_t* pixels, int64_t stride, int64_t readable, int64_t count, CodeFormat,
                   uint8_t* codes, int64_t code_stride);

  // The same with error feedback, for kFeedbackPixels pixels, from which whole groups are read and written. `errors` (groups,
  // pixels, kFeedbackGroup) is set, `left` the same of the pixels to the left, null where runs begin.
  void (*quantize_groups)(const FeedbackQuantizer&, const uint16_t* pixels, int64_t stride, CodeFormat, const float* left,
                          float* errors, uint8_t* codes, int64_t code_stride);

  // A row of codes for `byte_pairs`: from the pixels d0, d1, d2, d3 that two outputs see, `code_stride` bytes apart, the four
  // runs of `channels` bytes d0 - d2, d1 + d2, d2 - d1 and d1 - d3, differences above kPairZero. Reads two pixels past the last
  // pair, and reads and writes up to kSlack bytes past what it must.
  void (*pair)(const uint8_t* codes, int64_t code_stride, int64_t channels, int64_t pairs, uint8_t* paired);

  // Weights of 16 output channels: maximum of |weight * factor| a channel; and folding, see convolution_fold.cc. What
  // rounding leaves of each weight is added to `carry`, which is added to the weight before.
  float (*largest_product)(const float* weights, const float* factors, int64_t count);
  void (*fold)(const float* weights, const float* factors, const float* lo, const float* centre, float scale, int64_t count,
               int largest, float* carry, int16_t* folded, float* offset);

  // Pack folded weights (kBlock, segments, elements) of one block; (kBlock, 4, segments, elements) for `byte_pairs`, which
  // are followed by that from which sums begin since differences are above kPairZero.
  void (*pack)(const int16_t* folded, int segments, int64_t elements, int64_t steps, CodeFormat, void* packed);

  // Sums of products for `pixels` (at most kLargestChunk) from `x` on and blocks first..first + count: (pixels, count, kBlock).
  void (*accumulate)(const Accumulation&, CodeFormat, int64_t x, int pixels, int first_block, int count, int32_t* sums);

  // Called when a thread is done for a while, and before others read what it wrote.
  void (*leave)();

  // Sums made values; of several blocks at once where they follow one another, also in the output.
  int finished_together;
  void (*finish)(const Epilogue&, const Finish&);

  // The same after sums in float: `finish` with float accumulators, of one block.
  void (*finish_float)(const Epilogue&, const Finish&, const float* sums);

  // Float convolution of planar rows: `taps` pointers to rows of one input channel and tap, for output pixel 0.
  void (*accumulate_float)(const float* const* taps, int tap_count, int64_t advance, const float* weights, int blocks,
                           int64_t x, int pixels, float* sums);

  // Statistics of `count` consecutive values of one channel of a planar map, as distances from `pivot`.
  void (*planar_statistics)(const float* values, int64_t count, float pivot, float* results);  // positives..maximum

  // Where sums can hide behind finishing: finishes, and meanwhile computes the sums of another piece of so many pixels and
  // blocks at most, of format `bytes`, as `accumulate` does.
  int piece_pixels = 0, piece_blocks = 0;
  void (*finish_and_accumulate)(const Epilogue&, const Finish&, const Accumulation&, int64_t x, int pixels, int first_block,
                                int count, int32_t* sums) = nullptr;
  int64_t cached_bytes = INT64_MAX;  // larger maps are written past the caches (non-temporal stores) by that
};

const Kernels& kernels_of(Isa isa);  // of an available tier
const Kernels& chosen_kernels();

}  // namespace daq
