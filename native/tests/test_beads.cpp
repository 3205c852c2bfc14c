// The bead kernels on pictures of every size and kind, for the sanitizers: whatever comes in,
// nothing is read or written beyond its memory, and what counts as found is a number.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "marey/beads.hpp"

using namespace marey::beads;

namespace {

int failures = 0;

void expect(bool holds, const char *what, unsigned seed) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "seed %u: %s\n", seed, what);
}

/// Uniform random numbers.
class Dice {
public:
    explicit Dice(unsigned seed) : engine_(seed) {}
    double between(double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(engine_);
    }
    int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }

private:
    std::mt19937 engine_;
};

template <class T>
void play(unsigned seed) {
    Dice dice(seed);
    const int height = dice.whole(3, 150), width = dice.whole(3, 150);
    const Point bead{dice.between(0, width), dice.between(0, height)};
    std::vector<T> pixels(std::size_t(height) * std::size_t(width));
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const double r = std::hypot(x - bead.x, y - bead.y);
            pixels[std::size_t(y * width + x)] =
                T(100 + 60 * std::exp(-r / 12) * std::cos(r) + dice.between(0, 5));
        }
    if constexpr (std::is_floating_point_v<T>)
        if (seed % 3 == 0)
            pixels[std::size_t(dice.whole(0, int(pixels.size()) - 1))] =
                std::numeric_limits<T>::quiet_NaN();
    const View<T> image{pixels.data(), height, width, width, 1};

    Method method;
    method.size = dice.whole(16, 120);
    method.step = float(dice.between(0.75, 3));
    method.radii = std::max(3, int(float(method.size / 2 - 1) / method.step));
    method.min_quality = 0;
    method.saturation = 150;
    std::vector<float> profiles(8 * std::size_t(method.radii));
    for (float &value : profiles) value = float(dice.between(-1, 1));
    std::vector<double> z;
    for (int i = 0; i < 8; ++i) z.push_back(50.0 * i);
    const RadialTable table(profiles, z);
    Workspace work;
    std::vector<float> profile(std::size_t(method.radii));
    for (int i = 0; i < 40; ++i) {
        const double reach = i < 10 ? 5 : 200;
        const Point start{bead.x + dice.between(-reach, reach),
                          bead.y + dice.between(-reach, reach)};
        const Bead found = track(image, start, method, i % 2 ? &table : nullptr, work,
                                 i % 3 ? std::span<float>(profile) : std::span<float>{});
        const bool placed = found.status == Status::ok || found.status == Status::saturated ||
                            found.status == Status::out_of_table;
        expect(std::isfinite(found.x) == placed && std::isfinite(found.y) == placed,
               "a place and its status disagree", seed);
        expect(std::isfinite(found.quality), "the quality is no number", seed);
    }

    std::vector<float> map(pixels.size());
    ring_votes(image, 2, dice.whole(2, 40), map.data());
    const auto look = [&](float threshold) {
        const std::vector<Peak> found =
            peaks(map.data(), height, width, threshold, float(dice.between(0, 20)),
                  dice.whole(0, 10), 1000);
        for (const Spot &spot :
             centroids(map.data(), height, width, found, float(dice.between(1, 10))))
            expect(spot.mass > 0 && spot.size >= 0, "a spot without mass or size", seed);
    };
    look(3);
    bandpass(image, dice.whole(1, 200), seed % 2 ? 1.0F : -1.0F, map.data());
    look(0);
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 200; ++seed) {
        play<std::uint8_t>(seed);
        play<std::uint16_t>(seed);
        play<float>(seed);
    }
    return failures == 0 ? 0 : 1;
}
