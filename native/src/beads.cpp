// One bead of one frame: region, coarse centre, rings, height, and whether to believe it.
#include "marey/beads.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "beads_clones.hpp"

namespace marey::beads {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Pixels of the border that differ from its median by less than this many spreads weigh nothing.
constexpr float noise_floor = 2.0F;
/// A step of the centre that is smaller than this is taken without looking again; the error of one
/// step is about a tenth of its length.
constexpr double small_step = 0.1;
constexpr int most_steps = 6;
/// The region follows the centre of mass at most so often.
constexpr int most_moves = 4;
/// px; beyond, numbers of pixels would not fit their integers.
constexpr double far_away = 1e9;
/// At least this share of the region, and of the radii, must lie inside the frame.
constexpr double least_inside = 0.5;
/// More than this share of saturated pixels inside the circle spoils the profile.
constexpr double most_saturated = 0.005;

template <class T>
MAREY_CLONES void widen_row(const T *from, float *to, int count, float offset) {
    for (int i = 0; i < count; ++i) to[i] = float(from[i]) - offset;
}

bool all_finite(const Tile &tile) {
    for (int y = 0; y < tile.height; ++y)
        for (int x = 0; x < tile.width; ++x)
            if (!std::isfinite(tile.row(y)[x])) return false;
    return true;
}

Bead failed(Status why) { return {nan, nan, nan, 0.0F, why}; }

/// How many radii about (x, y) lie wholly inside the frame.
template <class T>
int radii_inside(const View<T> &image, std::ptrdiff_t x, std::ptrdiff_t y, const Method &method) {
    const std::ptrdiff_t room = std::min({x, image.width - 1 - x, y, image.height - 1 - y});
    return std::min(method.radii, int(std::floor(float(room) / method.step)));
}

}  // namespace

Rings &Workspace::of(float step, int radii) {
    for (Rings &each : rings)
        if (each.step() == step && each.radii() == radii) return each;
    constexpr std::size_t most = 64;
    if (rings.size() == most) rings.clear();
    return rings.emplace_back(step, radii);
}

template <class T>
void cut(const View<T> &image, std::ptrdiff_t left, std::ptrdiff_t top, int width, int height,
         float offset, Tile &out) {
    out.shape(width, height);
    for (int y = 0; y < height; ++y) {
        const T *from = image.data + (top + y) * image.row + left * image.column;
        float *to = out.row(y);
        if (image.column == 1) {
            widen_row(from, to, width, offset);
        } else {
            for (int x = 0; x < width; ++x) to[x] = float(from[x * image.column]) - offset;
        }
    }
}

template <class T>
Bead track(const View<T> &image, Point start, const Method &method, const RadialTable *table,
           Workspace &work, std::span<float> profile) {
    std::fill(profile.begin(), profile.end(), std::numeric_limits<float>::quiet_NaN());
    if (!std::isfinite(start.x) || !std::isfinite(start.y)) return failed(Status::lost);
    if (std::max(std::fabs(start.x), std::fabs(start.y)) > far_away) return failed(Status::border);

    // A region at the edge of the frame is cut off; the bead may still be found in what is left.
    const std::ptrdiff_t from_x = std::lround(start.x) - method.size / 2;
    const std::ptrdiff_t from_y = std::lround(start.y) - method.size / 2;
    std::ptrdiff_t left = std::max<std::ptrdiff_t>(0, from_x);
    std::ptrdiff_t top = std::max<std::ptrdiff_t>(0, from_y);
    const std::ptrdiff_t right = std::min(image.width, from_x + method.size);
    const std::ptrdiff_t bottom = std::min(image.height, from_y + method.size);
    const auto least = std::ptrdiff_t(std::ceil(method.size * least_inside));
    if (right - left < least || bottom - top < least) return failed(Status::border);

    const float saturation = method.saturation > 0 ? method.saturation
                                                   : std::numeric_limits<float>::infinity();
    Tile &tile = work.tile;
    cut(image, left, top, int(right - left), int(bottom - top), 0.0F, tile);
    if constexpr (std::is_floating_point_v<T>)
        if (!all_finite(tile)) return failed(Status::no_signal);
    const Level level = border_level(tile, work.scratch);
    Point centre;
    for (int move = 0;; ++move) {
        if (!centre_of_mass(tile, level.median, noise_floor * level.spread, centre, work.scratch))
            return failed(Status::no_signal);
        const double off_x = centre.x - tile.width / 2, off_y = centre.y - tile.height / 2;
        if (std::max(std::fabs(off_x), std::fabs(off_y)) <= method.size / 16.0) break;
        if (move == most_moves) return failed(Status::lost);
        // Look again with the bead in the middle, as far from it as the frame allows.
        const std::ptrdiff_t x = left + std::lround(centre.x), y = top + std::lround(centre.y);
        const std::ptrdiff_t half = std::min(
            {x, y, image.width - 1 - x, image.height - 1 - y, std::ptrdiff_t(method.size / 2)});
        if (2 * half < least) return failed(Status::border);
        left = x - half;
        top = y - half;
        cut(image, left, top, int(2 * half), int(2 * half), 0.0F, tile);
        if constexpr (std::is_floating_point_v<T>)
            if (!all_finite(tile)) return failed(Status::no_signal);
    }
    if (!mirror_centre(tile, centre, work.scratch)) return failed(Status::lost);
    centre.x += double(left);
    centre.y += double(top);

    Fit fit;
    Rings *rings = nullptr;
    for (int step = 0;; ++step) {
        if (step == most_steps) return failed(Status::lost);
        const std::ptrdiff_t x = std::lround(centre.x), y = std::lround(centre.y);
        const int radii = radii_inside(image, x, y, method);
        if (radii < std::max(3, int(std::ceil(method.radii * least_inside))))
            return failed(Status::border);
        rings = &work.of(method.step, radii);
        rings->gather(image, x, y, level.median);
        rings->profile(centre.x - double(x), centre.y - double(y));
        fit = rings->fit(saturation - level.median);
        const double length = std::hypot(fit.shift.x, fit.shift.y);
        if (!std::isfinite(length)) return failed(Status::no_signal);
        const double scale = length > 1 ? 1 / length : 1;  // px: farther, the slopes say nothing
        centre.x += scale * fit.shift.x;
        centre.y += scale * fit.shift.y;
        if (std::fabs(centre.x - start.x) > method.size / 2.0 ||
            std::fabs(centre.y - start.y) > method.size / 2.0)
            return failed(Status::lost);
        if (length < small_step) break;
    }
    if (!(fit.quality >= method.min_quality)) return failed(Status::no_signal);

    Bead bead{centre.x, centre.y, nan, fit.quality, Status::ok};
    const std::span<const float> mean = rings->mean();
    std::copy_n(mean.begin(), std::min(profile.size(), mean.size()), profile.begin());
    if (fit.saturated > most_saturated) {
        bead.status = Status::saturated;
    } else if (table != nullptr) {
        const RadialTable::Match match = table->match(mean);
        if (match.inside && match.likeness >= method.min_likeness)
            bead.z = match.z;
        else
            bead.status = Status::out_of_table;
    }
    return bead;
}

#define MAREY_INSTANTIATE(T)                                                                     \
    template void cut(const View<T> &, std::ptrdiff_t, std::ptrdiff_t, int, int, float, Tile &); \
    template Bead track(const View<T> &, Point, const Method &, const RadialTable *, Workspace &, \
                        std::span<float>);
MAREY_INSTANTIATE(std::uint8_t)
MAREY_INSTANTIATE(std::uint16_t)
MAREY_INSTANTIATE(float)

}  // namespace marey::beads
