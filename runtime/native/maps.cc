#include "maps.h"

#include <algorithm>
#include <cstring>

#include "map_rows.h"

namespace daq {

void to_native(const Kernels& kernels, const MapSize& size, const float* planar, uint16_t* native, double* statistics,
               const Parallel& parallel) {
  const BlockRows rows(kernels, size);
  const int64_t padded = size.padded(), plane = size.height * size.width;
  run_bands(size, statistics, parallel, [&](int64_t first, int64_t last, BandStatistics* gathered) {
    float values[kMapChunk * kBlock] = {};
    for (int64_t row = first; row < last; ++row) {
      if (gathered != nullptr) gathered->begin_row();
      for (int64_t channel = 0; channel < padded; channel += kBlock) {
        const int64_t valid = std::min<int64_t>(kBlock, size.channels - channel);
        for (int64_t x = 0; x < size.width; x += kMapChunk) {
          const int64_t pixels = std::min<int64_t>(kMapChunk, size.width - x);
          if (valid < kBlock) std::memset(values, 0, sizeof(values));
          for (int64_t lane = 0; lane < valid; ++lane) {
            const float* source = planar + (channel + lane) * plane + row * size.width + x;
            for (int64_t p = 0; p < pixels; ++p) values[p * kBlock + lane] = source[p];
          }
          rows.store(values, row, x, pixels, channel, row == first, gathered, native);
        }
      }
      if (gathered != nullptr) gathered->end_row(size.width);
    }
  });
}

void to_planar(const Kernels& kernels, const MapSize& size, const uint16_t* native, float* planar, const Parallel& parallel) {
  const int64_t padded = size.padded(), plane = size.height * size.width;
  const BlockRows rows(kernels, size);
  run_bands(size, nullptr, parallel, [&](int64_t first, int64_t last, BandStatistics*) {
    float values[kMapChunk * kBlock];
    for (int64_t row = first; row < last; ++row) {
      for (int64_t channel = 0; channel < padded; channel += kBlock) {
        const int64_t valid = std::min<int64_t>(kBlock, size.channels - channel);
        for (int64_t x = 0; x < size.width; x += kMapChunk) {
          const int64_t pixels = std::min<int64_t>(kMapChunk, size.width - x);
          rows.load(native, row, x, pixels, channel, values);
          for (int64_t lane = 0; lane < valid; ++lane) {
            float* target = planar + (channel + lane) * plane + row * size.width + x;
            for (int64_t p = 0; p < pixels; ++p) target[p] = values[p * kBlock + lane];
          }
        }
      }
    }
  });
}

std::vector<ChannelStatistics> planar_statistics(const Kernels& kernels, const MapSize& size, const float* planar,
                                                 const Parallel& parallel) {
  std::vector<ChannelStatistics> statistics(static_cast<size_t>(size.channels));
  const auto count = static_cast<double>(size.height * size.width);
  parallel(size.channels, [&](int64_t channel) {
    const float* values = planar + channel * size.height * size.width;
    const double pivot = values[0];
    ChannelStatistics& own = statistics[static_cast<size_t>(channel)];
    own = {count, 0, 0, 0, values[0], values[0]};
    double distance = 0, squares = 0;
    for (int64_t row = 0; row < size.height; ++row) {
      float results[5];
      kernels.planar_statistics(values + row * size.width, size.width, values[0], results);
      own.positives += results[0];
      distance += results[1];
      squares += results[2];
      own.minimum = std::min(own.minimum, static_cast<double>(results[3]));
      own.maximum = std::max(own.maximum, static_cast<double>(results[4]));
    }
    own.total = distance + count * pivot;
    own.total_squares = squares + pivot * (2 * distance + count * pivot);
  });
  return statistics;
}

void elementwise(const Kernels& kernels, const MapSize& size, const ElementwiseParameters& parameters, const float* slope,
                 const uint16_t* input, const uint16_t* operand, const uint16_t* gate, uint16_t* output,
                 double* statistics, const Parallel& parallel) {
  const int64_t padded = size.padded();
  const BlockRows rows(kernels, size);
  const ChannelArrays arrays(size.channels, slope);
  const Epilogue epilogue = arrays.epilogue(parameters.activation, parameters.operand, parameters.operand_first);
  std::vector<float> gates(gate == nullptr ? 0 : static_cast<size_t>(padded));
  for (int64_t channel = 0; channel < static_cast<int64_t>(gates.size()); channel += kBlock) {
    rows.load(gate, 0, 0, 1, channel, gates.data() + channel);
  }
  run_bands(size, statistics, parallel, [&](int64_t first, int64_t last, BandStatistics* gathered) {
    float values[kMapChunk * kBlock];
    for (int64_t row = first; row < last; ++row) {
      if (gathered != nullptr) gathered->begin_row();
      for (int64_t channel = 0; channel < padded; channel += kBlock) {
        for (int64_t x = 0; x < size.width; x += kMapChunk) {
          const int64_t offset = (row * size.width + x) * padded + channel;
          Finish finish = {};
          finish.pixels = std::min<int64_t>(kMapChunk, size.width - x);
          if (gate == nullptr) {
            rows.load(input, row, x, finish.pixels, channel, values);
          } else {
            rows.load_gated(gates.data() + channel, input, row, x, finish.pixels, channel, values);
          }
          finish.accumulator_stride = kBlock;
          finish.bias = arrays.zeros.data();
          finish.operand = operand == nullptr ? nullptr : operand + offset;
          finish.operand_stride = padded;
          finish.half_output = output + offset;
          finish.output_stride = padded;
          finish.channel = static_cast<int>(channel);
          finish.sets_pivot = row == first && x == 0;
          finish.statistics = gathered == nullptr ? nullptr : &gathered->row();
          kernels.finish_float(epilogue, finish, values);
        }
      }
      if (gathered != nullptr) gathered->end_row(size.width);
    }
  });
}

FloatConvolution::FloatConvolution(const Kernels& kernels, const FloatConvolutionParameters& parameters, int64_t outputs,
                                   int64_t inputs, int64_t kernel_height, int64_t kernel_width, const float* weights,
                                   const float* bias, const float* slope)
    : kernels_(kernels), parameters_(parameters), outputs_(outputs), inputs_(inputs), kernel_{kernel_height, kernel_width} {
  const ChannelArrays arrays(outputs, slope);
  slope_ = arrays.slope;
  valid_ = arrays.valid;
  bias_ = arrays.zeros;
  std::copy_n(bias, outputs, bias_.begin());
  const int64_t taps = inputs * kernel_height * kernel_width;
  weights_.assign(bias_.size() * static_cast<size_t>(taps), 0.0f);
  for (int64_t output = 0; output < outputs; ++output) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      weights_[static_cast<size_t>((output / kBlock * taps + tap) * kBlock + output % kBlock)] = weights[output * taps + tap];
    }
  }
}

MapSize FloatConvolution::output_size(int64_t height, int64_t width) const {
  return {outputs_, convolved_size(parameters_, 0, height, kernel_[0]), convolved_size(parameters_, 1, width, kernel_[1])};
}

void FloatConvolution::run(int64_t height, int64_t width, const float* planar, uint16_t* output, double* statistics,
                           const Parallel& parallel) const {
  run_bands(output_size(height, width), statistics, parallel,
            [&](int64_t first, int64_t last, BandStatistics* gathered) {
              const auto band = bands_.take();
              run_rows(height, width, planar, output, first, last, *band, gathered);
            });
}

void FloatConvolution::run_rows(int64_t height, int64_t width, const float* planar, uint16_t* output, int64_t first_row,
                                int64_t last_row, Band& band, BandStatistics* statistics) const {
  const MapSize size = output_size(height, width);
  const int64_t padded = size.padded(), blocks = padded / kBlock, pad = parameters_.pads[1];
  const int64_t reach = (size.width - 1) * parameters_.strides[1] + (kernel_[1] - 1) * parameters_.dilations[1] + 1;
  const int64_t row_size = std::max(pad + width, reach);
  const int64_t tap_count = inputs_ * kernel_[0] * kernel_[1];
  band.rows.assign(static_cast<size_t>(inputs_ * kernel_[0] * row_size), 0.0f);
  band.sums.resize(static_cast<size_t>(kMapChunk * padded));
  band.taps.clear();
  for (int64_t line = 0; line < inputs_ * kernel_[0]; ++line) {
    for (int64_t kx = 0; kx < kernel_[1]; ++kx) {
      band.taps.push_back(band.rows.data() + line * row_size + kx * parameters_.dilations[1]);
    }
  }
  const Epilogue epilogue = {bias_.data(), slope_.data(), valid_.data(), parameters_.activation, Operand::none, false, false};
  for (int64_t row = first_row; row < last_row; ++row) {
    for (int64_t line = 0; line < inputs_ * kernel_[0]; ++line) {
      const int64_t source_row =
          row * parameters_.strides[0] - parameters_.pads[0] + line % kernel_[0] * parameters_.dilations[0];
      float* target = band.rows.data() + line * row_size + pad;
      if (source_row < 0 || source_row >= height) {
        std::fill_n(target, width, 0.0f);
      } else {
        std::copy_n(planar + (line / kernel_[0] * height + source_row) * width, width, target);
      }
    }
    if (statistics != nullptr) statistics->begin_row();
    for (int64_t x = 0; x < size.width; x += kMapChunk) {
      const int pixels = static_cast<int>(std::min<int64_t>(kMapChunk, size.width - x));
      kernels_.accumulate_float(band.taps.data(), static_cast<int>(tap_count), parameters_.strides[1], weights_.data(),
                                static_cast<int>(blocks), x, pixels, band.sums.data());
      for (int64_t block = 0; block < blocks; ++block) {
        Finish finish = {};
        finish.pixels = pixels;
        finish.accumulator_stride = padded;
        finish.bias = bias_.data() + block * kBlock;
        finish.half_output = output + (row * size.width + x) * padded + block * kBlock;
        finish.output_stride = padded;
        finish.channel = static_cast<int>(block * kBlock);
        finish.sets_pivot = row == first_row && x == 0;
        finish.statistics = statistics == nullptr ? nullptr : &statistics->row();
        kernels_.finish_float(epilogue, finish, band.sums.data() + block * kBlock);
      }
    }
    if (statistics != nullptr) statistics->end_row(size.width);
  }
}

}  // namespace daq
