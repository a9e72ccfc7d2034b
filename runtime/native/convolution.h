// A quantized convolution of native maps: quantize while reading, multiply integers, finish, gather statistics.
// docs/kernels.md shows how data flows through it.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "pool.h"
#include "statistics.h"

namespace daq {

struct ConvolutionParameters {
  std::vector<int> bits;  // of each input channel
  std::vector<int64_t> channels, first_channel;  // of each source
  int64_t strides[2], pads[4], dilations[2];     // ONNX order: height, width; top, left, bottom, right
  Activation activation;
  Operand operand;
  bool operand_first;
  int64_t blocksize;
  bool depth_first;  // DepthToSpace mode DCR
  bool planar;       // output is float32 (N, C, H, W)
  bool exact;
  bool companded;         // levels of channels of few bits: see companding.h
  std::vector<int64_t> feedback_order;  // groups of channels, first rounded first; read with error feedback alone
  bool counts_positives;  // among the statistics
};

struct ConvolutionWeights {
  int64_t outputs, inputs, kernel[2];
  const int8_t* codes;  // (outputs, inputs, kernel)
  const float* step;    // (outputs)
  bool mid_rise;
  const float* bias;   // (outputs)
  const float* slope;  // (outputs), or null
  const float* feedback;  // (inputs, 2 * inputs), or null
};

// One picture.
struct ConvolutionRun {
  int64_t height, width;               // of the input
  const float* lo;                     // (inputs)
  const float* step;                   // (inputs)
  const float* origin;                 // (inputs), or null where levels are even
  std::vector<const uint16_t*> sources;
  std::vector<int64_t> strides;        // padded channels of each source
  const uint16_t* operand;             // native map of the output's size, or null
  uint16_t* half_output;               // one of the two; may be the operand
  float* float_output;
  double* statistics;                  // (6, output channels), or null
};

class Convolution {
 public:
  // Throws std::invalid_argument where parameters and weights do not fit.
  Convolution(const Kernels& kernels, const ConvolutionParameters& parameters, const ConvolutionWeights& weights);
  ~Convolution();

  int64_t output_height(int64_t height) const;  // before DepthToSpace
  int64_t output_width(int64_t width) const;
  int64_t output_channels() const { return channels_; }  // after DepthToSpace

  void run(const ConvolutionRun& run, const Parallel& parallel) const;

 private:
  struct Folded;  // weights with the steps of one picture folded in
  struct Band;    // working memory of a band of rows
  struct Workspace;  // what all convolutions borrow from
  struct NewRow;  // a row of the input that is being quantized
  struct Chunk;   // a run of pixels whose sums are in working memory
  struct Row;     // of the output, while it is computed

  void add_weight(int64_t row, int64_t tap, int64_t position, float weight);
  void fold(const ConvolutionRun& run, const Parallel& parallel, Folded& folded) const;
  void fold_block(Folded& folded, int64_t block, Band& band) const;
  void run_band(const ConvolutionRun& run, const Folded& folded, int64_t first_row, int64_t last_row, Band& band,
                BandStatistics* statistics) const;
  void pack_side_by_side(Folded& folded, Band& band) const;
  void sum_side_by_side(const Folded& folded, int64_t width, Band& band) const;
  void add_taps(const Chunk& chunk, Band& band) const;
  void quantize_pixels(const ConvolutionRun& run, const Folded& folded, int64_t row, int64_t x, int64_t count,
                       uint8_t* codes, Band& band) const;
  void quantize_with_feedback(const ConvolutionRun& run, const Folded& folded, int64_t row, int64_t x, int64_t count,
                              uint8_t* codes, Band& band) const;
  void take_feedback(const float* coefficients);  // (inputs, 2 * inputs)
  void fold_feedback(const ConvolutionRun& run, Folded& folded) const;
  void quantize_until(const ConvolutionRun& run, const Folded& folded, int64_t column, NewRow& row, Band& band) const;
  void border_bias(const Folded& folded, int64_t input_width, Band& band) const;
  void begin_band(int64_t input_width, Band& band) const;
  Accumulation accumulation_of(const Folded& folded, int64_t advance, const std::vector<float>& valid, const Band& band) const;
  NewRow hold_rows(const ConvolutionRun& run, const Folded& folded, int64_t row, Band& band) const;
  void accumulate(const Row& row, const Chunk& chunk) const;
  void sum_and_finish(const Row& row, const Chunk& chunk, Chunk& waiting) const;
  void finish_chunk(const Row& row, const Chunk& chunk, const Chunk* next) const;
  // Of the native output. Divided as int: with 64 bits that would take longer than all else that is done with the result.
  int pixel_blocks() const { return static_cast<int>(padded_channels_) / kBlock; }
  int planes() const { return format_ == CodeFormat::two_planes ? 2 : 1; }
  bool paired() const { return format_ == CodeFormat::byte_pairs; }
  void aim_finish(const Row& row, int64_t x, int block, Finish& finish) const;
  void scatter(const ConvolutionRun& run, int64_t row, int64_t x, int64_t pixels, int block, const Band& band) const;

  const Kernels& kernels_;
  ConvolutionParameters parameters_;
  int64_t kernel_[2], inputs_, outputs_, channels_;
  int64_t padded_inputs_;    // channels of a pixel of codes
  int64_t padded_outputs_;   // whole blocks
  int64_t padded_channels_;  // of the native output
  int64_t groups_;           // sub-pixels that lie in blocks of their own
  int64_t segments_, taps_, elements_, steps_;
  int64_t pointers_ = 1;     // to the codes of a segment, see Kernels::single_steps
  int64_t products_;         // of a segment with an input channel: its taps, or kPairProducts
  int64_t code_bytes_;       // of one channel of a pixel, as it is quantized
  int64_t code_stride_;      // bytes from a pixel to the next as they are quantized
  int64_t pixel_bytes_;      // and in the ring of rows
  int64_t side_blocks_;      // of a kernel row's taps side by side, see sum_side_by_side; 0 where they are not
  CodeFormat format_;
  int largest_code_ = 0, largest_weight_;
  std::vector<int64_t> input_position_;   // of each input channel in a pixel of codes
  std::vector<int64_t> output_position_;  // of each output channel in the blocks
  std::vector<float> weights_;            // (padded outputs, segments, elements); of pairs by product, then segment
  std::vector<float> magnitude_;          // largest |weight| of each position of a pixel of codes
  std::vector<int64_t> first_of_group_;   // channel, in the order of rounding
  std::vector<float> feedback_;           // (inputs, 2 * inputs): of the pixel to the left, then of its own
  int64_t feedback_run_ = 1;              // pixels of a row that follow from one another: kFeedbackRun, or 1 if none does
  std::vector<float> bias_, slope_, valid_, side_valid_;
  std::shared_ptr<Workspace> workspace_;
  mutable Pool<std::vector<BandStatistics>> statistics_;
};

}  // namespace daq
