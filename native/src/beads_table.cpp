// Height of a bead: its radial profile against profiles at known heights.
#include <algorithm>
#include <cmath>
#include <limits>

#include "beads_clones.hpp"
#include "marey/beads.hpp"

namespace marey::beads {
namespace {

/// Square root of the number of pixels that bear on radius k, in units of 2 pi step^2: the area
/// under the tent about k * step.
float root_weight(int k) { return std::sqrt(k == 0 ? 1.0F / 6 : float(k)); }

MAREY_CLONES float dot(const float *a, const float *b, int count) {
    float sum = 0;
    for (int i = 0; i < count; ++i) sum += a[i] * b[i];
    return sum;
}

/// Weighted to mean 0 and length 1, then times the root of the weights: the product of two such
/// vectors is the weighted correlation coefficient of their profiles.
void prepare(const float *profile, int radii, float *out) {
    float weights = 0, sum = 0;
    for (int k = 0; k < radii; ++k) {
        const float weight = root_weight(k) * root_weight(k);
        weights += weight;
        sum += weight * profile[k];
    }
    const float mean = sum / weights;
    float square = 0;
    for (int k = 0; k < radii; ++k) {
        out[k] = root_weight(k) * (profile[k] - mean);
        square += out[k] * out[k];
    }
    const float scale = square > 0 ? 1 / std::sqrt(square) : 0;
    for (int k = 0; k < radii; ++k) out[k] *= scale;
}

/// Weights of four neighbours for the value and the slope at `t`, counted from the first of them:
/// the cubic through all four (Lagrange).
void cubic(double t, double value[4], double slope[4]) {
    const double a = t, b = t - 1, c = t - 2, d = t - 3;
    value[0] = -b * c * d / 6;
    value[1] = a * c * d / 2;
    value[2] = -a * b * d / 2;
    value[3] = a * b * c / 6;
    slope[0] = -(c * d + b * d + b * c) / 6;
    slope[1] = (c * d + a * d + a * c) / 2;
    slope[2] = -(b * d + a * d + a * b) / 2;
    slope[3] = (b * c + a * c + a * b) / 6;
}

}  // namespace

RadialTable::RadialTable(std::span<const float> profiles, std::span<const double> z)
    : radii_(int(profiles.size() / z.size())),
      z_(z.begin(), z.end()),
      raw_(profiles.begin(), profiles.end()),
      prepared_(profiles.size()) {
    for (std::size_t j = 0; j < z_.size(); ++j)
        prepare(raw_.data() + j * std::size_t(radii_), radii_,
                prepared_.data() + j * std::size_t(radii_));
}

RadialTable::Match RadialTable::match(std::span<const float> profile) const {
    const int radii = std::min(radii_, int(profile.size()));
    thread_local std::vector<float> prepared, shorter;
    prepared.resize(std::size_t(radii));
    prepare(profile.data(), radii, prepared.data());
    if (radii == radii_) return refine(prepared_, prepared, radii);
    // A bead near the edge of the frame has fewer radii: compare those that it has.
    shorter.resize(z_.size() * std::size_t(radii));
    for (std::size_t j = 0; j < z_.size(); ++j)
        prepare(raw_.data() + j * std::size_t(radii_), radii,
                shorter.data() + j * std::size_t(radii));
    return refine(shorter, prepared, radii);
}

RadialTable::Match RadialTable::refine(const std::vector<float> &rows,
                                       std::span<const float> profile, int radii) const {
    const int heights = int(z_.size());
    int best = 0;
    float likeness = -2;
    for (int j = 0; j < heights; ++j) {
        const float here = dot(rows.data() + std::ptrdiff_t(j) * radii, profile.data(), radii);
        if (here > likeness) {
            likeness = here;
            best = j;
        }
    }
    if (likeness <= -2) return {std::numeric_limits<double>::quiet_NaN(), 0, false};

    // Gauss-Newton on |profile - gain * T(u)|^2 over gain and u, the height in rows.
    thread_local std::vector<float> value, slope;
    value.resize(std::size_t(radii));
    slope.resize(std::size_t(radii));
    double u = best;
    double weight[4], rate[4];
    int from = 0;
    constexpr int rounds = 8;
    constexpr double close = 1e-4;
    for (int round = 0; round < rounds; ++round) {
        from = std::clamp(int(std::floor(u)) - 1, 0, heights - 4);
        cubic(u - from, weight, rate);
        const float *row = rows.data() + std::ptrdiff_t(from) * radii;
        for (int k = 0; k < radii; ++k) {
            const float a = row[k], b = row[k + radii], c = row[k + 2 * radii],
                        d = row[k + 3 * radii];
            value[std::size_t(k)] = float(weight[0]) * a + float(weight[1]) * b +
                                    float(weight[2]) * c + float(weight[3]) * d;
            slope[std::size_t(k)] =
                float(rate[0]) * a + float(rate[1]) * b + float(rate[2]) * c + float(rate[3]) * d;
        }
        const double tt = dot(value.data(), value.data(), radii);
        const double tp = dot(value.data(), profile.data(), radii);
        const double td = dot(value.data(), slope.data(), radii);
        const double dd = dot(slope.data(), slope.data(), radii);
        const double dp = dot(slope.data(), profile.data(), radii);
        if (!(tt > 0)) break;
        likeness = float(tp / std::sqrt(tt));
        const double gain = tp / tt;
        const double across = gain * (dd - td * td / tt);
        if (!(across > 0)) break;
        const double next = std::clamp(u + (dp - td * tp / tt) / across, best - 1.0, best + 1.0);
        const bool settled = std::fabs(next - u) < close;
        u = next;
        if (settled) break;
    }
    const bool inside = u >= 0 && u <= heights - 1;
    from = std::clamp(int(std::floor(u)) - 1, 0, heights - 4);
    cubic(u - from, weight, rate);
    double z = 0;
    for (int i = 0; i < 4; ++i) z += weight[i] * z_[std::size_t(from + i)];
    return {z, likeness, inside};
}

}  // namespace marey::beads
