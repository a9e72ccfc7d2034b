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
constexpr int kPiecePixels = 2 * kTilePixels, kPieceBlocks = 2;
// Weights of two blocks fill most of the first cache beside all else that passes through it: several pieces use them before
// anything else does.
constexpr int kChunk = 3 * kPiecePixels;
constexpr int64_t kCachedBytes = 64 << 20;  // maps of 118 MB gain by being written past the caches, 29 MB do not

CodeFormat format(int, bool exact, int64_t) { return exact ? CodeFormat::two_planes : CodeFormat::bytes; }

int largest_shifted_code(int largest_code, CodeFormat format) {
  return format == CodeFormat::bytes ? 255 : largest_code;
}

int largest_weight(int largest_code, int64_t products, CodeFormat format) {
  return format == CodeFormat::bytes ? weight_limit(127, largest_code, products) : 32639;
}

int64_t steps(int64_t elements, CodeFormat) { return round_up(elements / 4, kTileSteps); }

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

// The sums of up to two runs of 16 pixels and two blocks, step by step. Tiles 0..3: sums; 4, 5: codes of the runs; 6, 7:
// weights of the blocks.
class Tiles {
 public:
  Tiles(const Accumulation& a, int64_t x, int pixels, int first_block, bool two_blocks)
      : a_(a), x_(x), codes_(a.codes[0] + x * a.advance), two_runs_(pixels > kTilePixels), two_blocks_(two_blocks) {
    block_bytes_ = a.segments * a.steps * kStepBytes;
    weights_ = static_cast<const uint8_t*>(a.weights) + first_block * block_bytes_;
    configure(two_runs_ ? kTilePixels : pixels, two_runs_ ? pixels - kTilePixels : 1);
    DAQ_TILE_ZERO(0);
    DAQ_TILE_ZERO(1);
    DAQ_TILE_ZERO(2);
    DAQ_TILE_ZERO(3);
  }

  int64_t steps() const { return a_.segments * a_.steps / kTileSteps; }

  bool more() const { return segment_ < a_.segments; }

  // All four tiles are loaded first: where another thread of the core uses its tiles too, products wait less.
  __attribute__((always_inline)) void step() {
    DAQ_TILE_LOAD(4, codes_, a_.advance);
    DAQ_TILE_LOAD(6, weights_, kStepBytes);
    if (two_blocks_) DAQ_TILE_LOAD(7, weights_ + block_bytes_, kStepBytes);
    if (two_runs_) DAQ_TILE_LOAD(5, codes_ + kTilePixels * a_.advance, a_.advance);
    DAQ_TILE_DOT(0, 4, 6);
    if (two_blocks_) DAQ_TILE_DOT(1, 4, 7);
    if (two_runs_) DAQ_TILE_DOT(2, 5, 6);
    if (two_runs_ && two_blocks_) DAQ_TILE_DOT(3, 5, 7);
    weights_ += kTileSteps * kStepBytes;
    codes_ += kTileSteps * 4;
    step_ += kTileSteps;
    if (step_ < a_.steps) return;
    step_ = 0;
    if (++segment_ < a_.segments) codes_ = a_.codes[segment_] + x_ * a_.advance;
  }

  // The steps that are left, and the sums to memory, (pixels, stride).
  void complete(int32_t* sums, int64_t stride) {
    while (more()) step();
    const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(int32_t));
    DAQ_TILE_STORE(0, sums, row_bytes);
    if (two_blocks_) DAQ_TILE_STORE(1, sums + kBlock, row_bytes);
    if (two_runs_) DAQ_TILE_STORE(2, sums + kTilePixels * stride, row_bytes);
    if (two_runs_ && two_blocks_) DAQ_TILE_STORE(3, sums + kTilePixels * stride + kBlock, row_bytes);
  }

 private:
  const Accumulation& a_;
  const int64_t x_;
  const uint8_t *codes_, *weights_;
  int64_t block_bytes_, step_ = 0;
  int segment_ = 0;
  const bool two_runs_, two_blocks_;
};

void accumulate(const Accumulation& a, CodeFormat, int64_t x, int pixels, int first_block, int count, int32_t* sums) {
  const int64_t stride = static_cast<int64_t>(count) * kBlock;
  for (int block = 0; block < count; block += kPieceBlocks) {
    for (int p = 0; p < pixels; p += kPiecePixels) {
      const int piece_pixels = static_cast<int>(smaller(kPiecePixels, pixels - p));
      Tiles tiles(a, x + p, piece_pixels, first_block + block, block + 1 < count);
      tiles.complete(sums + p * stride + block * kBlock, stride);
    }
  }
}

// Tiles multiply by themselves once they are told to, so that the processor finishes other sums meanwhile. It looks a few
// hundred instructions ahead, no further: steps of the tiles are told between every four pixels.
struct Steps {
  static constexpr bool kPastCaches = true;
  static constexpr int64_t kBetween = 4;

  Tiles& tiles;
  const int64_t together;

  __attribute__((always_inline)) void operator()(int64_t pixel) const {
    if (pixel % kBetween != 0) return;
    for (int64_t i = 0; i < together && tiles.more(); ++i) tiles.step();
  }
};

void finish_and_accumulate(const Epilogue& epilogue, const Finish& run, const Accumulation& a, int64_t x, int pixels,
                           int first_block, int count, int32_t* sums) {
  Tiles tiles(a, x, pixels, first_block, count == kPieceBlocks);
  const int64_t together = tiles.steps() * Steps::kBetween / run.pixels;
  finish_beside(epilogue, run, Steps{tiles, together > 0 ? together : 1});
  tiles.complete(sums, count * kBlock);
}

// What was written past the caches is seen by others only after SFENCE.
void leave() {
  _mm_sfence();
  configured_rows[0] = configured_rows[1] = 0;
  DAQ_TILE_RELEASE();
}

}  // namespace

extern const Kernels kAmxKernels = {
    Isa::amx, kChunk, kBlocksTogether, false, format, largest_shifted_code, largest_weight, steps, quantize,
    quantize_groups, pair, largest_product, fold, pack, accumulate, leave, kFinishedTogether, finish, finish_float,
    accumulate_float, planar_statistics, kPiecePixels, kPieceBlocks, finish_and_accumulate, kCachedBytes,
};

}  // namespace daq
