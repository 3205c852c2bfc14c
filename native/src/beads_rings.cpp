// The radial profile of a bead, and the centre that fits it best.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "beads_clones.hpp"
#include "marey/beads.hpp"

namespace marey::beads {
namespace {

/// The true centre is at most this far from the middle of its pixel: half a diagonal.
constexpr double off_middle = 0.70711;
/// A sorted pixel can bear on four radii, of which the first lies this many below its ring.
constexpr int tents = 4, below = 1;
constexpr int lanes = 16;
/// Pixels that only fill up a ring to whole vectors lie so far away that they bear on nothing.
constexpr float nowhere = 1e4F;
/// At the centre itself the direction is undefined and the slope is 0.
constexpr float nearby = 1e-6F;

float tent(float from) { return std::max(0.0F, 1.0F - std::fabs(from)); }

MAREY_CLONES void distances(const float *dx, const float *dy, float x, float y, float per_step,
                            int count, float *out) {
    for (int i = 0; i < count; ++i) {
        const float a = dx[i] - x, b = dy[i] - y;
        out[i] = std::sqrt(a * a + b * b) * per_step;
    }
}

/// Weight and weighted intensity of every radius; entry 0 of `weight` and `sum` is radius -1.
MAREY_CLONES void share(const int *starts, int rings, const float *distance, const float *value,
                        float *weight, float *sum) {
    for (int ring = 0; ring < rings; ++ring) {
        const float first = float(ring - below);
        float w0 = 0, w1 = 0, w2 = 0, w3 = 0, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        for (int i = starts[ring]; i < starts[ring + 1]; ++i) {
            const float at = distance[i] - first, v = value[i];
            const float a = tent(at), b = tent(at - 1), c = tent(at - 2), d = tent(at - 3);
            w0 += a;
            w1 += b;
            w2 += c;
            w3 += d;
            s0 += a * v;
            s1 += b * v;
            s2 += c * v;
            s3 += d * v;
        }
        float *w = weight + ring, *s = sum + ring;
        w[0] += w0;
        w[1] += w1;
        w[2] += w2;
        w[3] += w3;
        s[0] += s0;
        s[1] += s1;
        s[2] += s2;
        s[3] += s3;
    }
}

/// Sums over all pixels, each weighted with `part`: how far it lies within the profile.
struct Sums {
    float count, first, second, saturated;  // of the intensity
    float residual;                         // of its square
    float gx, gy, axx, axy, ayy;            // of the normal equations
};

/// The image against its profile, between whose radii it runs straight. The model is I = P(r), so
/// that dI/dcx = -P'(r) (x - cx) / r. Entry 0 of `mean`, `slope` and `known` is radius -1.
MAREY_CLONES Sums compare(const int *starts, int rings, const float *dx, const float *dy, float x,
                          float y, const float *value, const float *distance, const float *mean,
                          const float *slope, const float *known, float step, float saturation) {
    float sums[10][lanes] = {};
    for (int ring = 0; ring < rings; ++ring) {
        const float first = float(ring - below);
        const float *m = mean + ring, *s = slope + ring, *k = known + ring;
        const float m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3];
        const float s0 = s[0], s1 = s[1], s2 = s[2], s3 = s[3];
        const float k0 = k[0], k1 = k[1], k2 = k[2], k3 = k[3];
        for (int start = starts[ring]; start < starts[ring + 1]; start += lanes) {
            for (int lane = 0; lane < lanes; ++lane) {
                const int i = start + lane;
                const float at = distance[i] - first, v = value[i];
                const float a = tent(at), b = tent(at - 1), c = tent(at - 2), d = tent(at - 3);
                const float part = a * k0 + b * k1 + c * k2 + d * k3;
                const float error = part * v - (a * m0 + b * m1 + c * m2 + d * m3);
                const float rise = a * s0 + b * s1 + c * s2 + d * s3;
                const float away = distance[i] > nearby ? distance[i] : nearby;
                const float scale = -rise / (step * away);
                const float jx = scale * (dx[i] - x), jy = scale * (dy[i] - y);
                sums[0][lane] += part;
                sums[1][lane] += part * v;
                sums[2][lane] += part * v * v;
                sums[3][lane] += part * float(v >= saturation);
                sums[4][lane] += error * error;
                sums[5][lane] += jx * error;
                sums[6][lane] += jy * error;
                sums[7][lane] += jx * jx;
                sums[8][lane] += jx * jy;
                sums[9][lane] += jy * jy;
            }
        }
    }
    float total[10] = {};
    for (int i = 0; i < 10; ++i)
        for (const float value_of_lane : sums[i]) total[i] += value_of_lane;
    return {total[0], total[1], total[2], total[3], total[4],
            total[5], total[6], total[7], total[8], total[9]};
}

}  // namespace

Rings::Rings(float step, int radii) : step_(step), radii_(radii) {
    const double radius = double(step) * radii + off_middle;
    reach_ = int(radius);
    const int rings = int(radius / double(step)) + 1;
    std::vector<std::vector<std::pair<int, int>>> sorted{std::size_t(rings)};
    for (int y = -reach_; y <= reach_; ++y)
        for (int x = -reach_; x <= reach_; ++x) {
            const double r = std::hypot(x, y);
            if (r < radius) sorted[std::size_t(r / double(step))].emplace_back(x, y);
        }
    starts_.push_back(0);
    for (const auto &ring : sorted) {
        for (const auto &[x, y] : ring) {
            dx_.push_back(float(x));
            dy_.push_back(float(y));
        }
        dx_.resize((dx_.size() + lanes - 1) / lanes * lanes, nowhere);
        dy_.resize(dx_.size(), nowhere);
        starts_.push_back(int(dx_.size()));
    }
    value_.resize(dx_.size());
    distance_.resize(dx_.size());
    // One more radius before the first and three behind the last take what bears on no radius.
    for (std::vector<float> *each : {&weight_, &sum_, &slope_})
        each->resize(std::size_t(rings + tents));
    known_.resize(weight_.size(), 0.0F);
    std::fill_n(known_.begin() + below, radii, 1.0F);
    mean_.resize(weight_.size(), 0.0F);
}

template <class T>
void Rings::gather(const View<T> &image, std::ptrdiff_t x, std::ptrdiff_t y, float level) {
    if (row_ != image.row || column_ != image.column) {
        row_ = image.row;
        column_ = image.column;
        offset_.assign(dx_.size(), 0);
        for (std::size_t i = 0; i < dx_.size(); ++i)
            if (dx_[i] != nowhere)
                offset_[i] = std::int32_t(std::ptrdiff_t(dy_[i]) * row_ +
                                          std::ptrdiff_t(dx_[i]) * column_);
    }
    const T *middle = image.data + y * row_ + x * column_;
    const std::size_t count = offset_.size();
    for (std::size_t i = 0; i < count; ++i) value_[i] = float(middle[offset_[i]]) - level;
}

void Rings::profile(double x, double y) {
    x_ = float(x);
    y_ = float(y);
    distances(dx_.data(), dy_.data(), x_, y_, 1 / step_, int(dx_.size()), distance_.data());
    std::fill(weight_.begin(), weight_.end(), 0.0F);
    std::fill(sum_.begin(), sum_.end(), 0.0F);
    share(starts_.data(), int(starts_.size()) - 1, distance_.data(), value_.data(),
          weight_.data(), sum_.data());
    for (int k = below; k < below + radii_; ++k) {
        const auto i = std::size_t(k);
        mean_[i] = weight_[i] > 0 ? sum_[i] / weight_[i] : 0;
    }
}

void Rings::set_profile(std::span<const float> mean) {
    std::copy(mean.begin(), mean.end(), mean_.begin() + below);
}

std::span<const float> Rings::mean() const {
    return {mean_.data() + below, std::size_t(radii_)};
}

std::span<const float> Rings::weight() const {
    return {weight_.data() + below, std::size_t(radii_)};
}

/// Slope of the profile at each radius: five points, fewer at the end; the profile goes on beyond
/// radius 0 as its own mirror image.
void Rings::find_slopes() {
    const auto at = [&](int k) { return mean_[std::size_t(below + std::abs(k))]; };
    for (int k = 0; k < radii_; ++k) {
        float slope;
        if (k + 2 < radii_)
            slope = (8 * (at(k + 1) - at(k - 1)) - (at(k + 2) - at(k - 2))) / 12;
        else if (k + 1 < radii_)
            slope = (at(k + 1) - at(k - 1)) / 2;
        else
            slope = at(k) - at(k - 1);
        slope_[std::size_t(below + k)] = slope / step_;
    }
}

Fit Rings::fit(float saturation) {
    find_slopes();
    const int rings = int(starts_.size()) - 1;
    const Sums sums = compare(starts_.data(), rings, dx_.data(), dy_.data(), x_, y_, value_.data(),
                              distance_.data(), mean_.data(), slope_.data(), known_.data(), step_,
                              saturation);
    Fit fit{{0, 0}, 0, sums.count > 0 ? sums.saturated / sums.count : 0};
    const double determinant = double(sums.axx) * sums.ayy - double(sums.axy) * sums.axy;
    const double trace = double(sums.axx) + sums.ayy;
    // Rings have slopes in every direction: the matrix is then far from singular.
    if (determinant > 1e-6 * trace * trace)
        fit.shift = {(double(sums.ayy) * sums.gx - double(sums.axy) * sums.gy) / determinant,
                     (double(sums.axx) * sums.gy - double(sums.axy) * sums.gx) / determinant};
    const double by_shift = fit.shift.x * sums.gx + fit.shift.y * sums.gy;
    const double variance = sums.second - double(sums.first) * sums.first / sums.count;
    if (variance > 0)
        fit.quality = float(std::clamp(1 - (sums.residual - by_shift) / variance, 0.0, 1.0));
    return fit;
}

#define MAREY_INSTANTIATE(T) \
    template void Rings::gather(const View<T> &, std::ptrdiff_t, std::ptrdiff_t, float);
MAREY_INSTANTIATE(std::uint8_t)
MAREY_INSTANTIATE(std::uint16_t)
MAREY_INSTANTIATE(float)

}  // namespace marey::beads
