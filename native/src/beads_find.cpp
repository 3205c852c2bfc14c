// Points about which many edges are round: where beads may be, without any hint.
#include <algorithm>
#include <cmath>
#include <vector>

#include "marey/beads.hpp"

namespace marey::beads {
namespace {

struct Gradient {
    float x, y;
};

/// Sobel's operator, not normalised.
template <class T>
Gradient gradient(const View<T> &image, std::ptrdiff_t y, std::ptrdiff_t x) {
    const T *above = image.data + (y - 1) * image.row + x * image.column;
    const T *here = above + image.row;
    const T *below = here + image.row;
    const std::ptrdiff_t c = image.column;
    return {float(above[c]) + 2 * float(here[c]) + float(below[c]) - float(above[-c]) -
                2 * float(here[-c]) - float(below[-c]),
            float(below[-c]) + 2 * float(below[0]) + float(below[c]) - float(above[-c]) -
                2 * float(above[0]) - float(above[c])};
}

/// Three times the noise of the gradient. Its length follows Rayleigh's distribution where there is
/// nothing but noise: a quarter of the pixels lie below 0.7585 sigma.
template <class T>
float noise_threshold(const View<T> &image) {
    constexpr std::ptrdiff_t apart = 3;
    constexpr float quarter = 0.7585F;
    std::vector<float> lengths;
    for (std::ptrdiff_t y = 1; y + 1 < image.height; y += apart)
        for (std::ptrdiff_t x = 1; x + 1 < image.width; x += apart) {
            const Gradient g = gradient(image, y, x);
            const float length = std::hypot(g.x, g.y);
            if (std::isfinite(length)) lengths.push_back(length);
        }
    if (lengths.empty()) return 0;
    const auto low = lengths.begin() + std::ptrdiff_t(lengths.size() / 4);
    std::nth_element(lengths.begin(), low, lengths.end());
    return 3 * *low / quarter;
}

}  // namespace

template <class T>
void ring_votes(const View<T> &image, int nearest, int farthest, float *votes) {
    const std::ptrdiff_t height = image.height, width = image.width;
    std::fill_n(votes, height * width, 0.0F);
    const float threshold = noise_threshold(image);
    const auto vote = [&](float x, float y) {
        const auto column = std::ptrdiff_t(std::floor(x + 0.5F));
        const auto row = std::ptrdiff_t(std::floor(y + 0.5F));
        if (column >= 0 && row >= 0 && column < width && row < height)
            votes[row * width + column] += 1;
    };
    for (std::ptrdiff_t y = 1; y + 1 < height; ++y)
        for (std::ptrdiff_t x = 1; x + 1 < width; ++x) {
            const Gradient g = gradient(image, y, x);
            const float length = std::sqrt(g.x * g.x + g.y * g.y);
            if (!(length > threshold)) continue;  // NaN votes for nothing
            const float ux = g.x / length, uy = g.y / length;
            for (int t = nearest; t <= farthest; ++t) {
                const float dx = float(t) * ux, dy = float(t) * uy;
                vote(float(x) + dx, float(y) + dy);
                vote(float(x) - dx, float(y) - dy);
            }
        }
}

#define MAREY_INSTANTIATE(T) template void ring_votes(const View<T> &, int, int, float *);
MAREY_INSTANTIATE(std::uint8_t)
MAREY_INSTANTIATE(std::uint16_t)
MAREY_INSTANTIATE(float)

}  // namespace marey::beads
