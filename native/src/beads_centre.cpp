// The coarse centre of a bead: level of the border, centre of mass, mirror symmetry.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "beads_clones.hpp"
#include "marey/beads.hpp"

namespace marey::beads {
namespace {

/// Of a normal distribution: standard deviation over mean distance from the middle.
constexpr float distance_to_sigma = 1.2533F;

/// Median as the mean of the two middle values; reorders `values`, of which there is an even count
/// (a border always has one).
float median_of_even(std::vector<float> &values) {
    const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

/// Add the weights max(0, |I - level| - floor) of a row to the sums of the columns, and their
/// multiples by y to the second sums.
MAREY_CLONES void weigh_row(const float *row, int width, float level, float floor, float y,
                            float *columns, float *moments) {
    for (int x = 0; x < width; ++x) {
        const float weight = std::max(0.0F, std::fabs(row[x] - level) - floor);
        columns[x] += weight;
        moments[x] += weight * y;
    }
}

/// Sums of products of pairs that lie alike on either side of the point c, for `count` points from
/// `first` on: about the pixel c, and about the point half a pixel further.
MAREY_CLONES void fold(const float *first, int count, int reach, float *about_pixels,
                       float *between_pixels) {
    for (int c = 0; c < count; ++c) {
        about_pixels[c] = first[c] * first[c] / 2;
        between_pixels[c] = 0;
    }
    for (int j = 0; j < reach; ++j) {
        const float *left = first - j, *right = first + j;
        // The outermost pair counts half, as the middle does.
        const float share = j + 1 == reach ? 0.5F : 1.0F;
        for (int c = 0; c < count; ++c) {
            between_pixels[c] += left[c] * right[c + 1];
            about_pixels[c] += share * left[c - 1] * right[c + 1];
        }
    }
}

/// Where `line` is most like its mirror image: the greatest correlation of the two, among the points
/// and half-way points within an eighth of the line from its middle, by a parabola through the best
/// and its neighbours.
///
/// The sums about a pixel and between two approximate the same integral, by trapezia and by
/// midpoints, so that the two kinds of candidates can be compared.
bool mirror_of_line(std::vector<float> &line, std::vector<float> &scratch, double &centre) {
    const int width = int(line.size());
    const int search = std::max(2, width / 8);
    const int first = width / 2 - search, count = 2 * search + 1;
    const int reach = std::min(first, width - 1 - (first + count));
    if (reach < 3) return false;
    const float total = std::accumulate(line.begin(), line.end(), 0.0F);
    for (float &value : line) value -= total / float(width);

    scratch.assign(std::size_t(4 * count), 0.0F);
    float *about = scratch.data(), *between = about + count, *score = between + count;
    fold(line.data() + first, count, reach, about, between);
    // Of the pixels [c - reach, c + reach] about the candidate c, and of their squares.
    float sum = 0, squares = 0;
    for (int i = first - reach; i <= first + reach; ++i) {
        sum += line[std::size_t(i)];
        squares += line[std::size_t(i)] * line[std::size_t(i)];
    }
    const auto pairs = float(2 * reach);
    const auto correlation = [&](float product, float total_here, float squares_here) {
        const float mean = total_here / pairs;
        const float variance = squares_here / pairs - mean * mean;
        return variance > 0 ? (product / float(reach) - mean * mean) / variance : 0;
    };
    for (int c = 0; c < count; ++c) {
        const float *middle = line.data() + first + c;
        const float left = middle[-reach], right = middle[reach], next = middle[reach + 1];
        score[2 * c] = correlation(about[c], sum - (left + right) / 2,
                                   squares - (left * left + right * right) / 2);
        sum -= left;
        squares -= left * left;
        score[2 * c + 1] = correlation(between[c], sum, squares);
        sum += next;
        squares += next * next;
    }
    const int candidates = 2 * count;
    const int best = int(std::max_element(score, score + candidates) - score);
    if (best == 0 || best == candidates - 1 || !(score[best] > 0)) return false;
    const float before = score[best - 1], after = score[best + 1];
    const float curvature = before - 2 * score[best] + after;
    const float offset = curvature < 0 ? (before - after) / (2 * curvature) : 0;
    centre = first + (best + double(offset)) / 2;
    return true;
}

}  // namespace

void Tile::shape(int new_width, int new_height) {
    width = new_width;
    height = new_height;
    stride = (new_width + 15) & ~15;
    pixels.resize(std::size_t(stride) * std::size_t(new_height));
}

Level border_level(const Tile &tile, std::vector<float> &scratch) {
    const float *top = tile.row(0);
    const float *bottom = tile.row(tile.height - 1);
    scratch.assign(top, top + tile.width);
    scratch.insert(scratch.end(), bottom, bottom + tile.width);
    for (int y = 1; y + 1 < tile.height; ++y) {
        scratch.push_back(tile.row(y)[0]);
        scratch.push_back(tile.row(y)[tile.width - 1]);
    }
    // Sorting needs an order, which NaN has not.
    if (!std::all_of(scratch.begin(), scratch.end(), [](float v) { return std::isfinite(v); })) {
        const float none = std::numeric_limits<float>::quiet_NaN();
        return {none, none};
    }
    const float median = median_of_even(scratch);
    float away = 0;
    for (const float value : scratch) away += std::fabs(value - median);
    return {median, distance_to_sigma * away / float(scratch.size())};
}

bool centre_of_mass(const Tile &tile, float level, float floor, Point &centre,
                    std::vector<float> &scratch) {
    scratch.assign(2 * std::size_t(tile.width), 0.0F);
    float *columns = scratch.data(), *moments = columns + tile.width;
    // Half the rows are enough to know where the mirror should look.
    for (int y = 0; y < tile.height; y += 2)
        weigh_row(tile.row(y), tile.width, level, floor, float(y), columns, moments);
    double mass = 0, first_x = 0, first_y = 0;
    for (int x = 0; x < tile.width; ++x) {
        mass += columns[x];
        first_x += double(columns[x]) * x;
        first_y += moments[x];
    }
    if (!(mass > 0) || !std::isfinite(mass)) return false;
    centre = {first_x / mass, first_y / mass};
    return true;
}

bool mirror_centre(const Tile &tile, Point &centre, std::vector<float> &scratch) {
    thread_local std::vector<float> line;
    const int band = std::max(1, std::min(tile.width, tile.height) / 16);
    const auto along_x = [&] {
        const int middle = int(std::lround(centre.y));
        const int top = std::clamp(middle - band, 0, tile.height - 1);
        const int bottom = std::clamp(middle + band, 0, tile.height - 1);
        line.assign(std::size_t(tile.width), 0.0F);
        for (int y = top; y <= bottom; ++y)
            for (int x = 0; x < tile.width; ++x) line[std::size_t(x)] += tile.row(y)[x];
        return mirror_of_line(line, scratch, centre.x);
    };
    const auto along_y = [&] {
        const int middle = int(std::lround(centre.x));
        const int left = std::clamp(middle - band, 0, tile.width - 1);
        const int right = std::clamp(middle + band, 0, tile.width - 1);
        line.assign(std::size_t(tile.height), 0.0F);
        for (int y = 0; y < tile.height; ++y)
            for (int x = left; x <= right; ++x) line[std::size_t(y)] += tile.row(y)[x];
        return mirror_of_line(line, scratch, centre.y);
    };
    const double first_y = centre.y;
    if (!along_x() || !along_y()) return false;
    // If the first line crossed the bead far from its middle, cross it there now.
    return std::fabs(centre.y - first_y) <= band || along_x();
}

}  // namespace marey::beads
