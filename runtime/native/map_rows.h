// Rows of native maps, a block of channels at a time, in float: what maps.cc and resampling.cc have in common.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "maps.h"

namespace daq {

constexpr int kMapChunk = 48;  // pixels of a row that are finished together

// Per-channel arrays of an epilogue, padded to whole blocks.
struct ChannelArrays {
  ChannelArrays(int64_t channels, const float* slope_values)
      : slope(static_cast<size_t>(round_up(channels, kBlock)), 1.0f), valid(slope.size(), 0.0f), zeros(slope.size(), 0.0f) {
    std::fill_n(valid.begin(), channels, 1.0f);
    if (slope_values != nullptr) std::copy_n(slope_values, channels, slope.begin());
  }

  Epilogue epilogue(Activation activation, Operand operand, bool operand_first) const {
    return {zeros.data(), slope.data(), valid.data(), activation, operand, operand_first, false};
  }
  std::vector<float> slope, valid, zeros;
};

// Runs bands of rows, gathers their statistics and merges them. `work` gets the rows and a BandStatistics or null.
template <class Work>
void run_bands(const MapSize& size, double* statistics, const Parallel& parallel, const Work& work) {
  const int64_t bands = band_count(size.height);
  std::vector<BandStatistics> gathered(statistics == nullptr ? 0 : static_cast<size_t>(bands));
  parallel(bands, [&](int64_t band) {
    BandStatistics* own = statistics == nullptr ? nullptr : &gathered[static_cast<size_t>(band)];
    if (own != nullptr) own->begin(size.padded(), true);
    work(band_start(size.height, band), band_start(size.height, band + 1), own);
  });
  if (statistics != nullptr) {
    merge_statistics(gathered, size.height * size.width, size.channels, size.padded(), 1, statistics);
  }
}

// Between half precision and float: pixels (pixels, kBlock) of one block.
class BlockRows {
 public:
  BlockRows(const Kernels& kernels, const MapSize& size)
      : kernels_(kernels),
        size_(size),
        arrays_(size.channels, nullptr),
        load_(arrays_.epilogue(Activation::none, Operand::add, true)),
        multiply_(arrays_.epilogue(Activation::none, Operand::multiply, true)),
        store_(arrays_.epilogue(Activation::none, Operand::none, false)) {}
  BlockRows(const BlockRows&) = delete;  // epilogues point to the arrays
  BlockRows& operator=(const BlockRows&) = delete;

  void load(const uint16_t* native, int64_t row, int64_t x, int64_t pixels, int64_t channel, float* values) const {
    const float zeros[kBlock] = {};
    read(load_, zeros, native + offset(row, x, channel), pixels, values);
  }

  // The same times `gate` (kBlock).
  void load_gated(const float* gate, const uint16_t* native, int64_t row, int64_t x, int64_t pixels, int64_t channel,
                  float* values) const {
    read(multiply_, gate, native + offset(row, x, channel), pixels, values);
  }

  // `first`: whether the row is the first of a band.
  void store(const float* values, int64_t row, int64_t x, int64_t pixels, int64_t channel, bool first,
             const BandStatistics* statistics, uint16_t* native) const {
    Finish finish = {};
    finish.pixels = pixels;
    finish.accumulator_stride = kBlock;
    finish.bias = arrays_.zeros.data();
    finish.half_output = native + offset(row, x, channel);
    finish.output_stride = size_.padded();
    finish.channel = static_cast<int>(channel);
    finish.sets_pivot = first && x == 0;
    finish.statistics = statistics == nullptr ? nullptr : &statistics->row();
    kernels_.finish_float(store_, finish, values);
  }

 private:
  // One of the same for all pixels, plus or times the map.
  void read(const Epilogue& epilogue, const float* same, const uint16_t* native, int64_t pixels, float* values) const {
    Finish finish = {};
    finish.pixels = pixels;
    finish.bias = arrays_.zeros.data();
    finish.operand = native;
    finish.operand_stride = size_.padded();
    finish.float_output = values;
    finish.output_stride = kBlock;
    kernels_.finish_float(epilogue, finish, same);
  }

  int64_t offset(int64_t row, int64_t x, int64_t channel) const { return (row * size_.width + x) * size_.padded() + channel; }

  const Kernels& kernels_;
  MapSize size_;
  ChannelArrays arrays_;
  Epilogue load_, multiply_, store_;
};

}  // namespace daq
