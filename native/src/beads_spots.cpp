// Bright spots of an image: band-pass, local maxima, centroids; and the gray of a colour image.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "beads_clones.hpp"
#include "marey/beads.hpp"

namespace marey::beads {
namespace {

/// Sums of a box are exact for integers; floats are summed as doubles.
template <class T>
using Sum = std::conditional_t<std::is_same_v<T, std::uint8_t>, std::int32_t,
                               std::conditional_t<std::is_integral_v<T>, std::int64_t, double>>;

/// Five rows times 1, 4, 6, 4, 1 (the binomial kernel of variance 1).
template <class T>
MAREY_CLONES void blend_rows(const T *a, const T *b, const T *c, const T *d, const T *e, int count,
                             float *out) {
    for (int x = 0; x < count; ++x)
        out[x] = (float(a[x]) + float(e[x])) + 4 * (float(b[x]) + float(d[x])) + 6 * float(c[x]);
}

/// The same along a row, whose ends are padded by two; over 256, less the background.
MAREY_CLONES void blend_columns(const float *padded, const float *background, float sign,
                                int count, float *out) {
    for (int x = 0; x < count; ++x) {
        const float smooth = ((padded[x] + padded[x + 4]) + 4 * (padded[x + 1] + padded[x + 3]) +
                              6 * padded[x + 2]) /
                             256;
        out[x] = std::max(0.0F, sign * (smooth - background[x]));
    }
}

template <class T>
MAREY_CLONES void add_row(const T *from, int count, Sum<T> *sums) {
    for (int x = 0; x < count; ++x) sums[x] += Sum<T>(from[x]);
}

template <class T>
MAREY_CLONES void subtract_row(const T *from, int count, Sum<T> *sums) {
    for (int x = 0; x < count; ++x) sums[x] -= Sum<T>(from[x]);
}

/// Sums over `reach` columns to either side, as far as there are any.
template <class S>
void sum_along(const S *columns, int width, int reach, S *out) {
    S sum = 0;
    for (int x = 0; x < std::min(reach, width); ++x) sum += columns[x];
    for (int x = 0; x < width; ++x) {
        if (x + reach < width) sum += columns[x + reach];
        out[x] = sum;
        if (x - reach >= 0) sum -= columns[x - reach];
    }
}

template <class S>
MAREY_CLONES void scale_sums(const S *sums, const float *scale, float rows, int count, float *out) {
    for (int x = 0; x < count; ++x) out[x] = float(sums[x]) * (scale[x] * rows);
}

}  // namespace

template <class T>
void bandpass(const View<T> &image, int box, float sign, float *out) {
    const int width = int(image.width), height = int(image.height);
    const int reach = box / 2;
    std::vector<Sum<T>> columns(std::size_t(width), 0), sums(std::size_t(width), 0);
    std::vector<float> background(std::size_t(width), 0.0F), scale(std::size_t(width), 0.0F);
    std::vector<float> padded(std::size_t(width) + 4, 0.0F);
    for (int x = 0; x < width; ++x)
        scale[std::size_t(x)] =
            1.0F / float(std::min(width - 1, x + reach) - std::max(0, x - reach) + 1);

    const auto row = [&](int y) { return image.data + std::ptrdiff_t(y) * image.row; };
    const auto near = [&](int y) { return row(std::clamp(y, 0, height - 1)); };

    for (int y = 0; y < std::min(reach, height); ++y) add_row(row(y), width, columns.data());
    for (int y = 0; y < height; ++y) {
        if (y + reach < height) add_row(row(y + reach), width, columns.data());
        sum_along(columns.data(), width, reach, sums.data());
        const int rows = std::min(height - 1, y + reach) - std::max(0, y - reach) + 1;
        scale_sums(sums.data(), scale.data(), 1.0F / float(rows), width, background.data());
        if (y - reach >= 0) subtract_row(row(y - reach), width, columns.data());

        blend_rows(near(y - 2), near(y - 1), near(y), near(y + 1), near(y + 2), width,
                   padded.data() + 2);
        padded[0] = padded[1] = padded[2];
        padded[std::size_t(width) + 2] = padded[std::size_t(width) + 3] =
            padded[std::size_t(width) + 1];
        blend_columns(padded.data(), background.data(), sign, width,
                      out + std::ptrdiff_t(y) * width);
    }
}

std::vector<Peak> peaks(const float *map, int height, int width, float threshold, float separation,
                        int margin, std::size_t most) {
    std::vector<Peak> found;
    const int edge = std::max(1, margin);
    for (int y = edge; y < height - edge; ++y) {
        const float *row = map + std::ptrdiff_t(y) * width;
        for (int x = edge; x < width - edge; ++x) {
            const float here = row[x];
            if (!(here > threshold)) continue;
            const float *above = row + x - width;
            const float *below = row + x + width;
            if (here < row[x - 1] || here < row[x + 1] || here < above[-1] || here < above[0] ||
                here < above[1] || here < below[-1] || here < below[0] || here < below[1])
                continue;
            found.push_back({float(x), float(y), here});
        }
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const Peak &a, const Peak &b) { return a.height > b.height; });

    // Highest first; whoever is too near to a higher one falls away. Cells of one separation's
    // width mean that only the nine about a peak need to be looked at.
    const float cell = std::max(1.0F, separation);
    const auto across = std::size_t(float(width) / cell) + 1;
    const auto down = std::size_t(float(height) / cell) + 1;
    std::vector<std::vector<Peak>> cells(across * down);
    std::vector<Peak> kept;
    for (const Peak &peak : found) {
        if (kept.size() == most) break;
        const auto column = std::size_t(peak.x / cell), line = std::size_t(peak.y / cell);
        bool alone = true;
        for (std::size_t j = line - (line > 0); j <= std::min(line + 1, down - 1); ++j)
            for (std::size_t i = column - (column > 0); i <= std::min(column + 1, across - 1); ++i)
                for (const Peak &other : cells[j * across + i]) {
                    const float dx = other.x - peak.x, dy = other.y - peak.y;
                    alone = alone && dx * dx + dy * dy >= cell * cell;
                }
        if (!alone) continue;
        cells[line * across + column].push_back(peak);
        kept.push_back(peak);
    }
    return kept;
}

std::vector<Spot> centroids(const float *map, int height, int width,
                            const std::vector<Peak> &found, float radius) {
    constexpr int most_moves = 10;
    constexpr double far = 0.6;  // px from the middle pixel; Crocker & Grier move it then
    const int reach = int(radius);
    std::vector<Spot> spots;
    spots.reserve(found.size());
    for (const Peak &peak : found) {
        int middle_x = int(peak.x), middle_y = int(peak.y);
        double mass = 0, x = 0, y = 0, square = 0;
        for (int move = 0;; ++move) {
            mass = x = y = square = 0;
            for (int j = -reach; j <= reach; ++j) {
                const int row = middle_y + j;
                if (row < 0 || row >= height) continue;
                for (int i = -reach; i <= reach; ++i) {
                    const int column = middle_x + i;
                    const int distance = i * i + j * j;
                    if (column < 0 || column >= width || float(distance) > radius * radius)
                        continue;
                    const double value = map[std::ptrdiff_t(row) * width + column];
                    mass += value;
                    x += value * i;
                    y += value * j;
                    square += value * distance;
                }
            }
            if (!(mass > 0)) break;
            x /= mass;
            y /= mass;
            const int step_x = (x > far) - (x < -far), step_y = (y > far) - (y < -far);
            if (move == most_moves || (step_x == 0 && step_y == 0)) break;
            middle_x = std::clamp(middle_x + step_x, 0, width - 1);
            middle_y = std::clamp(middle_y + step_y, 0, height - 1);
        }
        if (!(mass > 0)) continue;
        const double spread = std::max(0.0, square / mass - x * x - y * y);
        spots.push_back({middle_x + x, middle_y + y, float(mass), float(std::sqrt(spread))});
    }
    return spots;
}

template <class T>
void luma(const T *rgb, std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t row, T *out) {
    for (std::ptrdiff_t y = 0; y < height; ++y) {
        const T *from = rgb + y * row;
        T *to = out + y * width;
        for (std::ptrdiff_t x = 0; x < width; ++x) {
            if constexpr (std::is_floating_point_v<T>)
                to[x] = (77 * from[3 * x] + 150 * from[3 * x + 1] + 29 * from[3 * x + 2]) / 256;
            else
                to[x] = T((77U * from[3 * x] + 150U * from[3 * x + 1] + 29U * from[3 * x + 2] +
                           128U) >>
                          8);
        }
    }
}

#define MAREY_INSTANTIATE(T)                                    \
    template void bandpass(const View<T> &, int, float, float *); \
    template void luma(const T *, std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t, T *);
MAREY_INSTANTIATE(std::uint8_t)
MAREY_INSTANTIATE(std::uint16_t)
MAREY_INSTANTIATE(float)

}  // namespace marey::beads
