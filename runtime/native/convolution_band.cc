// A band of rows: which codes are held, which sums are under way, and what becomes of them.

#include <algorithm>
#include <cstring>

#include "convolution_memory.h"

namespace daq {
namespace {

// Copies kCount values of each pixel (pixels, kBlock) to where they lie `stride` apart.
template <int kCount>
void copy_runs(const float* values, int64_t pixels, int64_t stride, float* target) {
  for (int64_t p = 0; p < pixels; ++p) std::memcpy(target + p * stride, values + p * kBlock, kCount * sizeof(float));
}

}  // namespace

// What is added to the sums: the bias, and lo times the weights of the taps that lie inside the picture.
void Convolution::border_bias(const Folded& folded, int64_t input_width, Band& band) const {
  const auto outputs = static_cast<size_t>(padded_outputs_);
  band.row_offsets.assign(static_cast<size_t>(kernel_[1]) * outputs, 0.0f);
  bool all_rows = true;
  for (int64_t ky = 0; ky < kernel_[0]; ++ky) {
    const bool valid = band.valid_rows[static_cast<size_t>(ky)] != 0;
    all_rows = all_rows && valid;
    if (!valid) continue;
    const float* offsets = folded.offsets.data() + static_cast<size_t>(ky * kernel_[1]) * outputs;
    for (size_t i = 0; i < band.row_offsets.size(); ++i) band.row_offsets[i] += offsets[i];
  }
  const int64_t border = band.left + band.width - band.right;
  band.bias.resize(static_cast<size_t>(1 + border) * outputs);
  const auto fill = [&](float* bias, int64_t x) {
    std::copy(bias_.begin(), bias_.end(), bias);
    for (int64_t kx = 0; kx < kernel_[1]; ++kx) {
      const int64_t column = x * parameters_.strides[1] - parameters_.pads[1] + kx * parameters_.dilations[1];
      if (x >= 0 && (column < 0 || column >= input_width)) continue;
      const float* offsets = band.row_offsets.data() + static_cast<size_t>(kx) * outputs;
      for (size_t i = 0; i < outputs; ++i) bias[i] += offsets[i];
    }
  };
  if (all_rows) {
    std::copy(folded.inner_bias.begin(), folded.inner_bias.end(), band.bias.begin());
  } else {
    fill(band.bias.data(), -1);
  }
  for (int64_t i = 0; i < border; ++i) {
    fill(band.bias.data() + static_cast<size_t>(1 + i) * outputs, i < band.left ? i : band.right + i - band.left);
  }
}

// Working memory for rows of a picture so wide, none of which was quantized.
void Convolution::begin_band(int64_t input_width, Band& band) const {
  const int64_t width = output_width(input_width);
  const int64_t stride = parameters_.strides[1], pad = parameters_.pads[1], dilation = parameters_.dilations[1];
  const int64_t reach = (width - 1) * stride + (kernel_[1] - 1) * dilation + 1;
  const int64_t ring_rows = (kernel_[0] - 1) * parameters_.dilations[0] + 1;
  const int64_t code_rows = ring_rows + (paired() ? 2 : 1);
  band.width = width;
  const int64_t widest = std::max(pixel_bytes_, code_stride_);
  band.row_bytes = round_up((std::max(pad + input_width, reach) + kReadPast) * widest + kSlack, kAlignment);
  band.ring = aligned<uint8_t>(band.code_memory, code_rows * band.row_bytes);
  std::memset(band.ring, 0, static_cast<size_t>(code_rows * band.row_bytes));
  band.zeros = band.ring + ring_rows * band.row_bytes;
  band.unpaired = band.zeros + band.row_bytes;
  if (paired()) kernels_.pair(band.unpaired, code_stride_, padded_inputs_, (width + 1) / 2, band.zeros);
  band.held_rows.assign(static_cast<size_t>(ring_rows), -1);
  band.valid_rows.resize(static_cast<size_t>(kernel_[0]));
  band.segments.resize(static_cast<size_t>(segments_ * pointers_));
  const int64_t blocks = std::min<int64_t>(kernels_.blocks, padded_outputs_ / kBlock * planes());
  const int64_t two_pieces = 2 * kernels_.piece_pixels * kernels_.piece_blocks;
  const int64_t sums = std::max(kernels_.chunk * blocks, two_pieces) * kBlock;
  band.sums = aligned<int32_t>(band.sum_memory, sums + (parameters_.planar ? kernels_.chunk * kBlock : 0));
  band.values = reinterpret_cast<float*>(band.sums + sums);
  if (side_blocks_ > 0) {
    band.side_sums = aligned<int32_t>(band.side_memory, (width + kernel_[1] - 1) * kBlocksTogether * kBlock + kSideSlack);
  }
  band.left = std::min(width, (pad + stride - 1) / stride);
  const int64_t last_inside = input_width - 1 + pad - (kernel_[1] - 1) * dilation;
  band.right = std::clamp(last_inside < 0 ? 0 : last_inside / stride + 1, band.left, width);
}

// The codes that a row of the output is computed from. The last row of them may be left to be quantized piece by piece, just
// before it is multiplied.
Convolution::NewRow Convolution::hold_rows(const ConvolutionRun& run, const Folded& folded, int64_t row, Band& band) const {
  const int64_t pad = parameters_.pads[1];
  NewRow new_row = {-1, run.width, nullptr};
  for (int64_t ky = 0; ky < kernel_[0]; ++ky) {
    const int64_t source_row = row * parameters_.strides[0] - parameters_.pads[0] + ky * parameters_.dilations[0];
    const bool valid = source_row >= 0 && source_row < run.height;
    band.valid_rows[static_cast<size_t>(ky)] = valid;
    const uint8_t* row_codes = band.zeros;
    if (valid) {
      const size_t slot = static_cast<size_t>(source_row) % band.held_rows.size();
      uint8_t* target = band.ring + static_cast<int64_t>(slot) * band.row_bytes;
      if (band.held_rows[slot] != source_row) {
        band.held_rows[slot] = source_row;
        if (paired()) {
          quantize_pixels(run, folded, source_row, 0, run.width, band.unpaired + pad * code_stride_, band);
          kernels_.pair(band.unpaired, code_stride_, padded_inputs_, (band.width + 1) / 2, target);
        } else {
          new_row = {source_row, 0, target + pad * pixel_bytes_};
          if (side_blocks_ > 0 || ky + 1 < kernel_[0]) quantize_until(run, folded, run.width, new_row, band);
        }
      }
      row_codes = target;
    }
    const int64_t parts = kernel_[1] / taps_;
    for (int64_t part = 0; part < parts; ++part) {
      const uint8_t* codes = row_codes + part * parameters_.dilations[1] * pixel_bytes_;
      const uint8_t** pointers = band.segments.data() + (ky * parts + part) * pointers_;
      for (int64_t step = 0; step < pointers_; ++step) pointers[step] = codes + step * kStepCodes;
    }
  }
  return new_row;
}

Accumulation Convolution::accumulation_of(const Folded& folded, int64_t advance, const std::vector<float>& valid,
                                          const Band& band) const {
  const int segments = static_cast<int>(band.segments.size());
  return {segments, band.segments.data(), advance, steps_ / pointers_, folded.packed, valid.data()};
}

void Convolution::run_band(const ConvolutionRun& run, const Folded& folded, int64_t first_row, int64_t last_row, Band& band,
                           BandStatistics* statistics) const {
  if (!band.continues(folded, first_row)) {
    band.run = 0;  // nobody's, should there be too little memory for what follows
    begin_band(run.width, band);
  }
  const int64_t stride = parameters_.strides[1], pad = parameters_.pads[1], dilation = parameters_.dilations[1];
  const int planes = this->planes(), blocks = static_cast<int>(padded_outputs_ / kBlock) * planes;
  const Epilogue epilogue = {folded.scale.data(),    slope_.data(),       valid_.data(),
                             parameters_.activation, parameters_.operand, parameters_.operand_first, planes == 2};
  const int64_t map_bytes =
      output_height(run.height) * band.width * parameters_.blocksize * parameters_.blocksize * padded_channels_ * kHalfBytes;
  for (int64_t y = first_row; y < last_row; ++y) {
    NewRow new_row = hold_rows(run, folded, y, band);
    border_bias(folded, run.width, band);
    if (statistics != nullptr) statistics->begin_row();
    const Accumulation accumulation = accumulation_of(folded, stride * pixel_bytes_, valid_, band);
    const Row row = {run, y, y == first_row, map_bytes > kernels_.cached_bytes, epilogue, accumulation, band, statistics};
    if (side_blocks_ > 0) sum_side_by_side(folded, band.width, band);
    Chunk waiting = {};
    for (int block = 0; block < blocks; block += kernels_.blocks) {
      const int together = std::min(kernels_.blocks, blocks - block);
      for (int64_t x = 0; x < band.width; x += kernels_.chunk) {
        const int pixels = static_cast<int>(std::min<int64_t>(kernels_.chunk, band.width - x));
        const Chunk chunk = {x, pixels, block / planes, together / planes, band.sums};
        if (side_blocks_ > 0) {
          add_taps(chunk, band);
          finish_chunk(row, chunk, nullptr);
        } else {
          quantize_until(run, folded, (x + pixels - 1) * stride + (kernel_[1] - 1) * dilation + 1 - pad, new_row, band);
          sum_and_finish(row, chunk, waiting);
        }
      }
    }
    if (waiting.pixels > 0) finish_chunk(row, waiting, nullptr);
    if (statistics != nullptr) statistics->end_row(band.width);
  }
  band.run = folded.run;
  band.next_row = last_row;
}

void Convolution::accumulate(const Row& row, const Chunk& chunk) const {
  kernels_.accumulate(row.accumulation, format_, chunk.x, chunk.pixels, chunk.first_block * planes(), chunk.blocks * planes(),
                      chunk.sums);
}

// Where sums can hide behind finishing, each piece of a chunk waits to be finished until the next one is summed.
void Convolution::sum_and_finish(const Row& row, const Chunk& chunk, Chunk& waiting) const {
  if (kernels_.finish_and_accumulate == nullptr || format_ != CodeFormat::bytes) {
    accumulate(row, chunk);
    return finish_chunk(row, chunk, nullptr);
  }
  const int piece_pixels = kernels_.piece_pixels, piece_blocks = kernels_.piece_blocks;
  for (int block = 0; block < chunk.blocks; block += piece_blocks) {
    for (int x = 0; x < chunk.pixels; x += piece_pixels) {
      Chunk piece = {chunk.x + x, std::min(piece_pixels, chunk.pixels - x), chunk.first_block + block,
                     std::min(piece_blocks, chunk.blocks - block), chunk.sums};
      if (waiting.sums == chunk.sums) piece.sums += piece_pixels * piece_blocks * kBlock;
      if (waiting.pixels > 0) {
        finish_chunk(row, waiting, &piece);
      } else {
        accumulate(row, piece);
      }
      waiting = piece;
    }
  }
}

// Of each block, finishes the pixels at the left border, inside, and at the right border; and sums `next`, if there is one.
void Convolution::finish_chunk(const Row& row, const Chunk& chunk, const Chunk* next) const {
  const Band& band = row.band;
  const int planes = this->planes();
  const int64_t stop = chunk.x + chunk.pixels;
  const int64_t edges[4] = {chunk.x, std::clamp(band.left, chunk.x, stop), std::clamp(band.right, chunk.x, stop), stop};
  // Blocks that are finished together lie side by side in the output: of one sub-pixel, and of half precision.
  const int pixel_blocks = this->pixel_blocks();
  for (int position = 0, together = 1; position < chunk.blocks; position += together) {
    const int block = chunk.first_block + position;
    const bool fit = !parameters_.planar && position + kernels_.finished_together <= chunk.blocks &&
                     block % pixel_blocks + kernels_.finished_together <= pixel_blocks;
    together = fit ? kernels_.finished_together : 1;
    const float* inner = band.bias.data() + block * kBlock;
    bool first = row.first && chunk.x == 0;
    for (int part = 0; part < 3; ++part) {
      const int64_t begin = edges[part], count = edges[part + 1] - begin;
      if (count == 0) continue;
      const int64_t index = part == 0 ? 1 + begin : 1 + band.left + begin - band.right;
      Finish finish;  // aim_finish sets the rest
      finish.pixels = count;
      finish.blocks = together;
      finish.accumulator_stride = static_cast<int64_t>(chunk.blocks) * planes * kBlock;
      finish.accumulators = chunk.sums + (begin - chunk.x) * finish.accumulator_stride + position * planes * kBlock;
      finish.bias = part == 1 ? inner : inner + index * padded_outputs_;
      finish.bias_stride = part == 1 ? 0 : padded_outputs_;
      finish.channel = block * kBlock;
      finish.sets_pivot = first;
      finish.statistics = row.statistics == nullptr ? nullptr : &row.statistics->row();
      aim_finish(row, begin, block, finish);
      if (part == 1 && next != nullptr) {
        kernels_.finish_and_accumulate(row.epilogue, finish, row.accumulation, next->x, next->pixels, next->first_block,
                                       next->blocks, next->sums);
        next = nullptr;
      } else {
        kernels_.finish(row.epilogue, finish);
      }
      if (parameters_.planar) scatter(row.run, row.y, begin, count, block, band);
      first = false;
    }
  }
  if (next != nullptr) accumulate(row, *next);
}

// Where the operand and the output of the pixels from x on lie, of a block.
void Convolution::aim_finish(const Row& row, int64_t x, int block, Finish& finish) const {
  const int64_t width = row.band.width;
  const uint16_t* operand = row.run.operand;
  finish.operand = operand == nullptr ? nullptr : operand + (row.y * width + x) * padded_outputs_ + block * kBlock;
  finish.operand_stride = padded_outputs_;
  finish.float_output = parameters_.planar ? row.band.values : nullptr;
  finish.half_output = nullptr;
  finish.output_stride = kBlock;
  finish.past_caches = false;
  if (parameters_.planar) return;
  const int size = static_cast<int>(parameters_.blocksize), pixel_blocks = this->pixel_blocks();
  const int subpixel = block / pixel_blocks, dy = subpixel / size, dx = subpixel % size;
  finish.output_stride = size * padded_channels_;
  finish.half_output = row.run.half_output + ((row.y * size + dy) * width * size + x * size + dx) * padded_channels_ +
                       (block - subpixel * pixel_blocks) * kBlock;
  finish.past_caches = row.past_caches && reinterpret_cast<uintptr_t>(finish.half_output) % kLineBytes == 0 &&
                       finish.output_stride * kHalfBytes % kLineBytes == 0;
}

// The band's values of a block (pixels, kBlock) to their planes, and to their sub-pixels where DepthToSpace is asked for: those
// of a row of sub-pixels that the block holds lie side by side in a plane, too.
void Convolution::scatter(const ConvolutionRun& run, int64_t row, int64_t x, int64_t pixels, int block,
                          const Band& band) const {
  const int64_t size = parameters_.blocksize, subpixels = size * size;
  const int64_t height = output_height(run.height) * size, width = band.width * size;
  for (int64_t lane = 0, side_by_side = 1; lane < kBlock; lane += side_by_side) {
    const int64_t output = block * kBlock + lane;
    if (output >= outputs_) return;
    const int64_t channel = parameters_.depth_first ? output % channels_ : output / subpixels;
    const int64_t subpixel = parameters_.depth_first ? output / channels_ : output % subpixels;
    float* target = run.float_output + (channel * height + row * size + subpixel / size) * width + x * size + subpixel % size;
    const float* values = band.values + lane;
    side_by_side = parameters_.depth_first ? 1 : std::min(size - subpixel % size, kBlock - lane);
    switch (side_by_side) {
      case 1: copy_runs<1>(values, pixels, size, target); break;
      case 2: copy_runs<2>(values, pixels, size, target); break;
      case 3: copy_runs<3>(values, pixels, size, target); break;
      default:
        side_by_side = 4;
        copy_runs<4>(values, pixels, size, target);
    }
  }
}

}  // namespace daq
