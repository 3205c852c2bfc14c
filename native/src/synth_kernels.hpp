// The inner loops of frame synthesis, compiled for several instruction sets; see the .cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "marey/synth.hpp"

namespace marey::synth {

// Rows of a patch take their noise from a pool of this length, each from a random place; the pool
// goes on for `BeadScene::max_tile` further entries.
constexpr std::size_t noise_period = 1 << 16;

// Q of the fixed-point root q = sqrt(pixel) of the u8 loop: q < 32.
constexpr int root_bits = 10;

struct Kernels {
    const char *name;
    // out = (mix + noise)^2 + bias, all in fixed point; bias has 5 fractional bits.
    void (*draw_u8)(const Patch<std::uint8_t> &, const Mix &, const std::int16_t *noise,
                    std::int16_t bias, Random &);
    // out = (scale mix + noise)^2 + bias
    void (*draw_u16)(const Patch<std::uint16_t> &, const Mix &, const float *noise, float scale,
                     float bias, float full_scale, Random &);
    // plane *= scale mix
    void (*multiply)(const Patch<float> &, const Mix &, float scale);
    // out = (root plane + noise)^2 + bias
    void (*expose_u8)(const Patch<std::uint8_t> &, const float *plane, const float *noise,
                      float root, float bias, float full_scale, Random &);
    void (*expose_u16)(const Patch<std::uint16_t> &, const float *plane, const float *noise,
                       float root, float bias, float full_scale, Random &);
};

// The fastest set that this processor runs; chosen once.
const Kernels &kernels();

} // namespace marey::synth
