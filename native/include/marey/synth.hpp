// Synthesis of frames: beads drawn from tables, noise, counters. No Python in here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace marey {

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, fast, and any number is a good seed,
// so that a stream of numbers can be had for each (seed, frame) without storing a state.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    Random(std::uint64_t seed, std::uint64_t key) : state_(mix(mix(seed) ^ mix(key + golden))) {}

    std::uint64_t next() { return mix(state_ += golden); }
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
    void normals(double *out, std::size_t count);

    static constexpr std::uint64_t golden = 0x9E3779B97F4A7C15ull;

  private:
    static constexpr std::uint64_t mix(std::uint64_t x) {
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
        return x ^ (x >> 31);
    }
    std::uint64_t state_;
};

// Four neighbouring tiles of a table and their weights, Q15: the corners of the tetrahedron in
// which a position lies. In the tables in use that is within a tenth as exact as all eight corners
// of the cell, for half the work and half the memory.
struct Mix {
    const std::int16_t *tile[4];
    std::int16_t weight[4];
    std::ptrdiff_t stride;
};

// The part of a frame that one tile covers.
template <class T> struct Patch {
    T *pixels;
    std::ptrdiff_t stride;
    int width, height;
};

struct Span {
    float *plane;
    std::ptrdiff_t stride;
    int width, height;
};

// A bright-field scene. Tables hold the root of the relative intensity, s = sqrt(I / I_background),
// as int16. With q = s sqrt(background) + n sqrt(gain) / 2, n standard normal, the pixel
// q^2 - gain / 4 has the mean and, to gain^2 / 8, the variance of shot noise:
// E = s^2 background, Var = gain E + gain^2 / 8 (the variance-stabilising transform of Anscombe,
// Biometrika 35:246, 1948, read backwards). Noise is thus one addition and one square.
// Where tiles of beads overlap their transmissions multiply.
class BeadScene {
  public:
    // Table of s: `planes` x `radii`; radius k is k * radial_step px, plane j lies at
    // first_z + j * z_step nm. The last radius must be at least sqrt(2) (tile / 2 + 1) px.
    struct Table {
        std::vector<float> root;
        std::size_t planes, radii;
        double radial_step, first_z, z_step;
    };

    static constexpr int phases = 8; // tiles for each pixel and axis
    static constexpr int max_tile = 1024;

    BeadScene(int height, int width, int tile, Table table, double background, double full_scale,
              std::uint64_t seed, std::size_t cache_bytes);
    BeadScene(const BeadScene &) = delete;
    BeadScene &operator=(const BeadScene &) = delete;

    void set_gain(double gain);

    // Draw `count` beads at (x px, y px, z nm) into a contiguous frame; `key` names the noise.
    template <class T>
    void draw(T *out, std::uint64_t key, const double *positions, std::size_t count, double focus);

    std::size_t tiles() const { return slots_.size(); }
    int height() const { return height_; }
    int width() const { return width_; }

  private:
    struct Place {
        int x, y; // of the tile's first pixel in the frame; may lie outside
        Mix mix;
        bool overlaps;
    };

    const std::int16_t *node(std::size_t plane, int phase_y, int phase_x);
    void place(const double *position, double focus, Place &out);
    void find_overlaps();
    template <class T> void draw_overlapping(T *out, Random &random);
    template <class T> const std::vector<T> &background_pool() const;

    int height_, width_, tile_, tile_stride_;
    Table table_;
    double background_, full_scale_, gain_ = 0.0;
    float root_limit_; // the greatest s of a tile; brighter is saturated anyway
    std::uint64_t seed_;
    std::size_t cache_limit_;
    std::vector<std::int32_t> index_;
    std::vector<std::unique_ptr<std::int16_t[]>> slots_;
    std::vector<float> bead_normals_, background_normals_;
    std::vector<std::int16_t> noise_fixed_;
    std::vector<float> noise_float_;
    std::vector<std::uint8_t> background_u8_;
    std::vector<std::uint16_t> background_u16_;
    std::vector<Place> places_;
    std::vector<std::int32_t> order_;
    std::vector<float> plane_;
};

// One exact step of an Ornstein-Uhlenbeck process for each frame from `first` on:
// state = decay * state + kick * normal; the normals depend on (seed, frame) only.
void ornstein_uhlenbeck(double *state, std::size_t count, const std::array<double, 3> &decay,
                        const std::array<double, 3> &kick, std::uint64_t seed, std::uint64_t first,
                        std::uint64_t frames);

// Copy rows out of a pool, each from a place of its own that depends on (seed, key).
template <class T>
void fill_rows(T *out, std::size_t rows, std::size_t row, const T *pool, std::size_t pool_size,
               std::uint64_t seed, std::uint64_t key);

// Independent pixels: all values of T alike (floats: [0, 1)).
template <class T>
void fill_uniform(T *out, std::size_t count, std::uint64_t seed, std::uint64_t key);

// Independent pixels, each one of the 65,536 entries of `table` (quantiles of a distribution).
template <class T>
void fill_lookup(T *out, std::size_t count, const T *table, std::uint64_t seed, std::uint64_t key);

// The number of a frame in its pixels: first its digits (base 256 in eight u8, else base 65,536
// in four pixels; lowest first), then pixel i is (frame + i) modulo that base.
template <class T> void fill_counter(T *out, std::size_t count, std::uint64_t frame);

// Let this thread's sleeps end within 1 us of their time instead of the 50 us that Linux allows
// itself; nothing elsewhere.
void sharpen_timers();

} // namespace marey
