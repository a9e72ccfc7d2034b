// The AMX instructions that are used, or, with DAQ_EMULATE_TILES, the same in plain C++: so that the tile code is tested on
// processors that have no tiles. Source of the semantics: Intel's architecture manual, TDPBUSD and TILELOADD.

#pragma once

#include <cstdint>

namespace daq {
namespace {

struct alignas(64) TileConfiguration {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t column_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfiguration) == 64, "LDTILECFG reads 64 bytes");

#if defined(DAQ_EMULATE_TILES)

struct EmulatedTiles {
  TileConfiguration configuration;
  uint8_t data[8][16][64];

  void zero(int tile) { std::memset(data[tile], 0, sizeof(data[tile])); }
  void load(int tile, const void* base, int64_t stride) {
    zero(tile);
    for (int row = 0; row < configuration.rows[tile]; ++row) {
      std::memcpy(data[tile][row], static_cast<const uint8_t*>(base) + row * stride, configuration.column_bytes[tile]);
    }
  }
  void store(int tile, void* base, int64_t stride) const {
    for (int row = 0; row < configuration.rows[tile]; ++row) {
      std::memcpy(static_cast<uint8_t*>(base) + row * stride, data[tile][row], configuration.column_bytes[tile]);
    }
  }
  // It is not what is tested, and it is most of the work.
  __attribute__((no_sanitize("address", "undefined"))) void dot(int sums, int codes, int weights) {
    for (int m = 0; m < configuration.rows[sums]; ++m) {
      for (int n = 0; n < 16; ++n) {
        int32_t sum;
        std::memcpy(&sum, &data[sums][m][4 * n], sizeof(sum));
        for (int k = 0; k < 64; ++k) {
          sum += data[codes][m][k] * static_cast<int8_t>(data[weights][k / 4][4 * n + k % 4]);
        }
        std::memcpy(&data[sums][m][4 * n], &sum, sizeof(sum));
      }
    }
  }
};

thread_local EmulatedTiles emulated_tiles;

#define DAQ_TILE_CONFIGURE(configuration_pointer) (emulated_tiles.configuration = *(configuration_pointer))
#define DAQ_TILE_ZERO(tile) emulated_tiles.zero(tile)
#define DAQ_TILE_LOAD(tile, base, stride) emulated_tiles.load(tile, base, stride)
#define DAQ_TILE_STORE(tile, base, stride) emulated_tiles.store(tile, base, stride)
#define DAQ_TILE_DOT(sums, codes, weights) emulated_tiles.dot(sums, codes, weights)
#define DAQ_TILE_RELEASE() static_cast<void>(0)

#else

#define DAQ_TILE_CONFIGURE(configuration_pointer) _tile_loadconfig(configuration_pointer)
#define DAQ_TILE_ZERO(tile) _tile_zero(tile)
#define DAQ_TILE_LOAD(tile, base, stride) _tile_loadd(tile, base, stride)
#define DAQ_TILE_STORE(tile, base, stride) _tile_stored(tile, base, stride)
#define DAQ_TILE_DOT(sums, codes, weights) _tile_dpbusd(sums, codes, weights)
#define DAQ_TILE_RELEASE() _tile_release()

#endif

}  // namespace
}  // namespace daq
