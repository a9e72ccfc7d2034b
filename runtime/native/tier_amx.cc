// AMX: TDPBUSD multiplies 16 pixels x 64 unsigned codes by 64 signed weights x 16 channels in one instruction. Everything
// else is as with AVX-512.
//
// A tile of codes is read straight from the row of codes, one pixel a tile row, so a kernel row of several taps is one run of
// bytes that is cut into pieces of 64; the last piece may read past it, onto weights that are zero.

#include "tier.h"
#include "tiles.h"

namespace daq {
namespace {

constexpr int64_t kTileSteps = 16;  // 64 bytes of codes
constexpr int kTilePixels = 16;
constexpr int kRunPixels = 2 * kTilePixels;
// Weights of two blocks fill most of the first cache beside all else that passes through it: several runs of pixels use them
// before anything else does.
constexpr int kChunk = 3 * kRunPixels;

CodeFormat format(int, bool exact, int64_t) { return exact ? CodeFormat::two_planes : CodeFormat::bytes; }

int largest_shifted_code(int largest_code, CodeFormat format) {
  return format == CodeFormat::bytes ? 255 : largest_code;
}

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  return format == CodeFormat::bytes ? weight_limit(127, largest_code, products) : 32639;
}

int64_t steps(int64_t elements, CodeFormat) { return round_up(elements / 4, kTileSteps); }

// Tiles 0..3: sums of two runs of pixels x two blocks; 4, 5: codes of the runs; 6, 7: weights of the blocks.
// LDTILECFG is dear, so a thread keeps its configuration until `leave`.
thread_local int configured_rows[2] = {0, 0};

void configure(int rows0, int rows1) {
  if (configured_rows[0] == rows0 && configured_rows[1] == rows1) return;
  configured_rows[0] = rows0;
  configured_rows[1] = rows1;
  TileConfiguration configuration = {};
  configuration.palette = 1;
  const int rows[8] = {rows0, rows0, rows1, rows1, rows0, rows1, 16, 16};
  for (int tile = 0; tile < 8; ++tile) {
    configuration.rows[tile] = static_cast<uint8_t>(rows[tile]);
    configuration.column_bytes[tile] = 64;
  }
  DAQ_TILE_CONFIGURE(&configuration);
}

void two_runs(const Accumulation& a, int64_t x, int pixels, int first_block, bool two_blocks, int32_t* sums, int64_t stride) {
  const int rows0 = pixels < kTilePixels ? pixels : kTilePixels;
  const int rows1 = pixels - rows0;
  configure(rows0, rows1 > 0 ? rows1 : 1);
  const int64_t block_bytes = a.segments * a.steps * kStepBytes;
  const auto* weights = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes;
  DAQ_TILE_ZERO(0);
  DAQ_TILE_ZERO(1);
  DAQ_TILE_ZERO(2);
  DAQ_TILE_ZERO(3);
  for (int segment = 0; segment < a.segments; ++segment) {
    const uint8_t* codes = a.codes[segment] + x * a.advance;
    for (int64_t step = 0; step < a.steps; step += kTileSteps) {
      DAQ_TILE_LOAD(4, codes, a.advance);
      DAQ_TILE_LOAD(6, weights, kStepBytes);
      DAQ_TILE_DOT(0, 4, 6);
      if (two_blocks) {
        DAQ_TILE_LOAD(7, weights + block_bytes, kStepBytes);
        DAQ_TILE_DOT(1, 4, 7);
      }
      if (rows1 > 0) {
        DAQ_TILE_LOAD(5, codes + kTilePixels * a.advance, a.advance);
        DAQ_TILE_DOT(2, 5, 6);
        if (two_blocks) DAQ_TILE_DOT(3, 5, 7);
      }
      codes += kTileSteps * 4;
      weights += kTileSteps * kStepBytes;
    }
  }
  const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(int32_t));
  DAQ_TILE_STORE(0, sums, row_bytes);
  if (two_blocks) DAQ_TILE_STORE(1, sums + kBlock, row_bytes);
  if (rows1 > 0) {
    DAQ_TILE_STORE(2, sums + kTilePixels * stride, row_bytes);
    if (two_blocks) DAQ_TILE_STORE(3, sums + kTilePixels * stride + kBlock, row_bytes);
  }
}

void accumulate(const Accumulation& a, CodeFormat, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int block = 0; block < count; block += 2) {
    for (int p = 0; p < pixels; p += kRunPixels) {
      const int run_pixels = static_cast<int>(smaller(kRunPixels, pixels - p));
      two_runs(a, x + p, run_pixels, first_block + block, block + 1 < count, sums + p * stride + block * kBlock, stride);
    }
  }
}

void leave() {
  configured_rows[0] = configured_rows[1] = 0;
  DAQ_TILE_RELEASE();
}

}  // namespace

extern const Kernels kAmxKernels = {
    Isa::amx, kChunk, kBlocksTogether, format, largest_shifted_code, largest_weight, steps, quantize, quantize_groups, pair,
    largest_product, fold, pack, accumulate, leave, kFinishedTogether, finish, finish_float, accumulate_float,
    planar_statistics,
};

}  // namespace daq
