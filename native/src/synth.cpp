#include "marey/synth.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <utility>

#include "synth_kernels.hpp"

namespace marey {

using synth::noise_period;

namespace {

constexpr std::size_t background_period = 1 << 18;
constexpr double fixed_top = 20.0;   // u8: brighter than 20^2 counts is white, whatever the noise
constexpr double noise_top = 11.5;   // fixed_top + noise_top must stay below 2^(15 - root_bits)
constexpr double far_away = 1e6;     // px: beads out there are out of sight

// Standard normal numbers whose mean and variance are exactly 0 and 1, so that a pool that is
// used over and over has no bias of its own. With `classes` above 1 that holds for each set of
// entries i, i + classes, i + 2 classes ... by itself.
std::vector<float> standard_normals(std::size_t count, std::uint64_t seed, std::size_t classes) {
    std::vector<double> raw(count);
    Random(seed).normals(raw.data(), count);
    std::vector<float> out(count);
    for (std::size_t first = 0; first < classes; ++first) {
        double mean = 0.0, square = 0.0, members = static_cast<double>(count / classes);
        for (std::size_t i = first; i < count; i += classes)
            mean += raw[i] / members;
        for (std::size_t i = first; i < count; i += classes)
            square += (raw[i] - mean) * (raw[i] - mean) / members;
        for (std::size_t i = first; i < count; i += classes)
            out[i] = static_cast<float>((raw[i] - mean) / std::sqrt(square));
    }
    return out;
}

// A pool whose first entries are repeated after its period, so that rows may start anywhere.
template <class T> void wrap(std::vector<T> &pool, std::size_t period) {
    for (std::size_t i = period; i < pool.size(); ++i)
        pool[i] = pool[i - period];
}

} // namespace

void Random::normals(double *out, std::size_t count) {
    // Box and Muller, Ann. Math. Statist. 29:610 (1958).
    for (std::size_t i = 0; i < count; i += 2) {
        const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
        const double angle = 2.0 * std::numbers::pi * uniform();
        out[i] = radius * std::cos(angle);
        if (i + 1 < count)
            out[i + 1] = radius * std::sin(angle);
    }
}

BeadScene::BeadScene(int height, int width, int tile, Table table, double background,
                     double full_scale, std::uint64_t seed, std::size_t cache_bytes)
    : height_(height), width_(width), tile_(tile), tile_stride_((tile + 31) / 32 * 32),
      table_(std::move(table)), background_(background), full_scale_(full_scale), seed_(seed) {
    if (height < 1 || width < 1 || tile < 4 || tile > max_tile)
        throw std::invalid_argument("BeadScene: found a frame or tile of impossible size");
    if (table_.planes < 2 || table_.radii < 2 ||
        table_.root.size() != table_.planes * table_.radii || !(table_.radial_step > 0) ||
        !(table_.z_step > 0))
        throw std::invalid_argument("BeadScene: a table needs two planes and two radii or more");
    if (static_cast<double>(table_.radii - 1) * table_.radial_step <
        std::numbers::sqrt2 * (tile / 2.0 + 1.0))
        throw std::invalid_argument("BeadScene: the table ends inside the corner of the tile");
    if (!(background >= 0) || !(full_scale >= background) || full_scale > 65535)
        throw std::invalid_argument("BeadScene: background must be within 0 and full scale");
    float brightest = 1.0f;
    for (float s : table_.root) {
        if (!(s >= 0.0f))
            throw std::invalid_argument("BeadScene: the table holds a number below zero or a NaN");
        brightest = std::max(brightest, s);
    }
    // Clip where a pixel is surely saturated: the fixed-point loops then never overflow.
    const double top = full_scale > 255 ? 1.1 * std::sqrt(full_scale) : fixed_top;
    const double root = std::sqrt(background);
    root_limit_ = root > 0 ? std::min(brightest, static_cast<float>(top / root)) : brightest;
    const std::size_t tile_bytes = sizeof(std::int16_t) * static_cast<std::size_t>(tile_stride_) *
                                   static_cast<std::size_t>(tile_);
    cache_limit_ = cache_bytes / tile_bytes;
    index_.assign(table_.planes * (phases + 1) * (phases + 1), -1);
    bead_normals_ = standard_normals(noise_period, seed ^ 0x6265616473ull, 1);
    // Rows are cut from the pool at multiples of a cache line: a column sees one class only.
    background_normals_ = standard_normals(background_period, seed ^ 0x6E6F697365ull, 64);
    set_gain(0.0);
}

void BeadScene::set_gain(double gain) {
    if (!(gain >= 0) || !(gain < 1e6))
        throw std::invalid_argument("BeadScene: gain must be a number from 0 on");
    gain_ = gain;
    const double sigma = std::sqrt(gain) / 2.0, root = std::sqrt(background_);
    const std::size_t length = noise_period + max_tile;
    noise_fixed_.resize(length);
    noise_float_.resize(length);
    for (std::size_t i = 0; i < noise_period; ++i) {
        const double n = sigma * bead_normals_[i];
        noise_float_[i] = static_cast<float>(n);
        noise_fixed_[i] = static_cast<std::int16_t>(
            std::lround(std::clamp(n, -noise_top, noise_top) * (1 << synth::root_bits)));
    }
    wrap(noise_fixed_, noise_period);
    wrap(noise_float_, noise_period);

    const auto fill = [&](auto &pool) {
        pool.resize(background_period + static_cast<std::size_t>(width_));
        for (std::size_t i = 0; i < background_period; ++i) {
            const double q = root + sigma * background_normals_[i];
            const double v = std::floor(q * q - gain / 4.0 + 0.5);
            pool[i] = static_cast<typename std::decay_t<decltype(pool)>::value_type>(
                std::clamp(v, 0.0, full_scale_));
        }
        wrap(pool, background_period);
    };
    if (full_scale_ > 255)
        fill(background_u16_);
    else
        fill(background_u8_);
}

const std::int16_t *BeadScene::node(std::size_t plane, int phase_y, int phase_x) {
    std::int32_t &slot = index_[(plane * (phases + 1) + static_cast<std::size_t>(phase_y)) *
                                    (phases + 1) +
                                static_cast<std::size_t>(phase_x)];
    if (slot >= 0)
        return slots_[static_cast<std::size_t>(slot)].get();

    auto tile = std::make_unique<std::int16_t[]>(static_cast<std::size_t>(tile_stride_) *
                                                 static_cast<std::size_t>(tile_));
    const float *profile = table_.root.data() + plane * table_.radii;
    const double centre_x = (tile_ - 1) / 2.0 + static_cast<double>(phase_x) / phases;
    const double centre_y = (tile_ - 1) / 2.0 + static_cast<double>(phase_y) / phases;
    const double scale = 32767.0 / root_limit_;
    for (int y = 0; y < tile_; ++y) {
        std::int16_t *row = tile.get() + static_cast<std::ptrdiff_t>(y) * tile_stride_;
        for (int x = 0; x < tile_; ++x) {
            const double dx = x - centre_x, dy = y - centre_y;
            const double r = std::sqrt(dx * dx + dy * dy) / table_.radial_step;
            const std::size_t k = std::min(static_cast<std::size_t>(r), table_.radii - 2);
            const double t = r - static_cast<double>(k);
            const double s = profile[k] + t * (profile[k + 1] - profile[k]);
            row[x] = static_cast<std::int16_t>(
                std::lround(std::min(s, static_cast<double>(root_limit_)) * scale));
        }
    }
    slot = static_cast<std::int32_t>(slots_.size());
    slots_.push_back(std::move(tile));
    return slots_.back().get();
}

void BeadScene::place(const double *position, double focus, Place &out) {
    // The tile's pixel x lies dx = x - (tile - 1) / 2 - phase from the centre of the bead.
    const double left = position[0] - (tile_ - 1) / 2.0, upper = position[1] - (tile_ - 1) / 2.0;
    const double depth = (position[2] - focus - table_.first_z) / table_.z_step;
    if (!std::isfinite(left) || !std::isfinite(upper) || !std::isfinite(depth))
        throw std::invalid_argument("BeadScene: a position is not a finite number");
    const double x = std::floor(std::clamp(left, -far_away, far_away));
    const double y = std::floor(std::clamp(upper, -far_away, far_away));
    out.x = static_cast<int>(x);
    out.y = static_cast<int>(y);
    out.overlaps = false;
    out.mix.stride = tile_stride_;
    if (out.x >= width_ || out.y >= height_ || out.x + tile_ <= 0 || out.y + tile_ <= 0)
        return; // out of sight: needs no tiles

    const double fx = (left - x) * phases, fy = (upper - y) * phases;
    const double fz = std::clamp(depth, 0.0, static_cast<double>(table_.planes - 1));
    const int ix = std::min(static_cast<int>(fx), phases - 1);
    const int iy = std::min(static_cast<int>(fy), phases - 1);
    const std::size_t iz = std::min(static_cast<std::size_t>(fz), table_.planes - 2);
    const double tx = fx - ix, ty = fy - iy, tz = fz - static_cast<double>(iz);

    // u8 draws in units of 2^-root_bits of the root of a count, u16 in parts of root_limit_.
    const double total = full_scale_ > 255 ? 32767.0
                                           : std::sqrt(background_) * root_limit_ *
                                                 (1 << synth::root_bits) * 32768.0 / 32767.0;
    // From the nearest corner below, step along the axes in the order of their fractions: the
    // corners passed are those of the tetrahedron, and the fractions' differences the weights.
    std::array<std::pair<double, int>, 3> axes{{{tx, 0}, {ty, 1}, {tz, 2}}};
    std::sort(axes.begin(), axes.end(), [](auto a, auto b) { return a.first > b.first; });
    std::array<int, 3> corner{ix, iy, static_cast<int>(iz)};
    double given = 0.0;
    for (int k = 0; k < 4; ++k) {
        if (k > 0)
            ++corner[static_cast<std::size_t>(axes[static_cast<std::size_t>(k - 1)].second)];
        // What is given so far is total (1 - next fraction): the rounded weights keep their sum.
        const double wanted = total * (k < 3 ? 1 - axes[static_cast<std::size_t>(k)].first : 1);
        const double weight = std::nearbyint(wanted - given);
        given += weight;
        out.mix.weight[k] = static_cast<std::int16_t>(std::clamp(weight, 0.0, 32767.0));
        // A tile of no weight is not fetched: a bead at rest on a plane costs less memory.
        out.mix.tile[k] = out.mix.weight[k] != 0 || k == 0
                              ? node(static_cast<std::size_t>(corner[2]), corner[1], corner[0])
                              : out.mix.tile[0];
    }
}

void BeadScene::find_overlaps() {
    order_.resize(places_.size());
    for (std::size_t i = 0; i < order_.size(); ++i)
        order_[i] = static_cast<std::int32_t>(i);
    std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
        return places_[static_cast<std::size_t>(a)].y < places_[static_cast<std::size_t>(b)].y;
    });
    for (std::size_t i = 0; i < order_.size(); ++i) {
        Place &a = places_[static_cast<std::size_t>(order_[i])];
        for (std::size_t j = i + 1; j < order_.size(); ++j) {
            Place &b = places_[static_cast<std::size_t>(order_[j])];
            if (b.y - a.y >= tile_)
                break;
            if (std::abs(b.x - a.x) < tile_)
                a.overlaps = b.overlaps = true;
        }
    }
}

namespace {

// The patch of a frame under a tile whose first pixel is at (x, y); cuts the mix to it.
template <class T>
Patch<T> clip(T *frame, int height, int width, int x, int y, int tile, Mix &mix) {
    const int x0 = std::max(x, 0), y0 = std::max(y, 0);
    const int x1 = std::min(x + tile, width), y1 = std::min(y + tile, height);
    if (x1 <= x0 || y1 <= y0)
        return {frame, width, 0, 0};
    const std::ptrdiff_t skip = static_cast<std::ptrdiff_t>(y0 - y) * mix.stride + (x0 - x);
    for (const std::int16_t *&t : mix.tile)
        t += skip;
    return {frame + static_cast<std::ptrdiff_t>(y0) * width + x0, width, x1 - x0, y1 - y0};
}

} // namespace

template <class T> void BeadScene::draw_overlapping(T *out, Random &random) {
    const auto &k = synth::kernels();
    const float unit = full_scale_ > 255
                           ? root_limit_ / 32767.0f
                           : static_cast<float>(1.0 / (std::sqrt(background_) * (1 << synth::root_bits)));
    plane_.resize(static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_));
    for (const Place &p : places_) {
        if (!p.overlaps)
            continue;
        Mix mix = p.mix;
        const Patch<float> to = clip(plane_.data(), height_, width_, p.x, p.y, tile_, mix);
        for (int y = 0; y < to.height; ++y)
            std::fill_n(to.pixels + y * to.stride, to.width, 1.0f);
    }
    for (const Place &p : places_) {
        if (!p.overlaps)
            continue;
        Mix mix = p.mix;
        const Patch<float> to = clip(plane_.data(), height_, width_, p.x, p.y, tile_, mix);
        k.multiply(to, mix, unit);
    }
    // A pixel under several tiles is exposed several times; the last noise is as good as any.
    const float root = static_cast<float>(std::sqrt(background_));
    const float bias = static_cast<float>(0.5 - gain_ / 4.0);
    const float top = static_cast<float>(full_scale_);
    for (const Place &p : places_) {
        if (!p.overlaps)
            continue;
        Mix mix = p.mix;
        const Patch<T> to = clip(out, height_, width_, p.x, p.y, tile_, mix);
        const float *plane = plane_.data() + (to.pixels - out);
        if constexpr (sizeof(T) == 1)
            k.expose_u8(to, plane, noise_float_.data(), root, bias, top, random);
        else
            k.expose_u16(to, plane, noise_float_.data(), root, bias, top, random);
    }
}

template <> const std::vector<std::uint8_t> &BeadScene::background_pool() const {
    return background_u8_;
}
template <> const std::vector<std::uint16_t> &BeadScene::background_pool() const {
    return background_u16_;
}

template <class T>
void BeadScene::draw(T *out, std::uint64_t key, const double *positions, std::size_t count,
                     double focus) {
    if ((sizeof(T) > 1) != (full_scale_ > 255))
        throw std::invalid_argument("BeadScene: the frame's type is not the scene's");
    if (slots_.size() > cache_limit_) {
        slots_.clear();
        std::fill(index_.begin(), index_.end(), -1);
    }
    places_.resize(count);
    for (std::size_t i = 0; i < count; ++i)
        place(positions + 3 * i, focus, places_[i]);
    find_overlaps();

    const auto &pool = background_pool<T>();
    fill_rows(out, static_cast<std::size_t>(height_), static_cast<std::size_t>(width_), pool.data(),
              background_period, seed_, key);

    const auto &k = synth::kernels();
    Random random(seed_ ^ 0x6265616473ull, key);
    bool overlapping = false;
    for (const Place &p : places_) {
        overlapping = overlapping || p.overlaps;
        if (p.overlaps)
            continue;
        Mix mix = p.mix;
        const Patch<T> to = clip(out, height_, width_, p.x, p.y, tile_, mix);
        if constexpr (sizeof(T) == 1) {
            // Half a count to round; half a step of the 5 fractional bits less, because numbers
            // on such a grid are rounded up on average.
            const double bias = 16.0 - 0.5 - 8.0 * std::min(gain_, 1000.0);
            k.draw_u8(to, mix, noise_fixed_.data(), static_cast<std::int16_t>(std::lround(bias)),
                      random);
        } else {
            const double scale = std::sqrt(background_) * root_limit_ / 32767.0;
            k.draw_u16(to, mix, noise_float_.data(), static_cast<float>(scale),
                       static_cast<float>(0.5 - gain_ / 4.0), static_cast<float>(full_scale_),
                       random);
        }
    }
    if (overlapping)
        draw_overlapping(out, random);
}

template void BeadScene::draw(std::uint8_t *, std::uint64_t, const double *, std::size_t, double);
template void BeadScene::draw(std::uint16_t *, std::uint64_t, const double *, std::size_t, double);

void ornstein_uhlenbeck(double *state, std::size_t count, const std::array<double, 3> &decay,
                        const std::array<double, 3> &kick, std::uint64_t seed, std::uint64_t first,
                        std::uint64_t frames) {
    std::vector<double> normals(3 * count);
    for (std::uint64_t frame = first; frame != first + frames; ++frame) {
        Random(seed ^ 0x77616C6Bull, frame).normals(normals.data(), normals.size());
        for (std::size_t i = 0; i < normals.size(); ++i)
            state[i] = decay[i % 3] * state[i] + kick[i % 3] * normals[i];
    }
}

} // namespace marey
