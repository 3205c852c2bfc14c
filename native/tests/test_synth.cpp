// Scenes of every size, for the sanitizers: beads anywhere, also far outside; odd tiles; frames
// smaller than a tile; a cache that overflows. Nothing outside a frame is written, and pixels that
// no bead covers are the background.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "marey/synth.hpp"

using namespace marey;

namespace {

int failures = 0;

void expect(bool holds, const char *what, unsigned seed) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "seed %u: %s\n", seed, what);
}

BeadScene::Table rings(int tile) {
    BeadScene::Table table{{}, 5, 0, 1.0 / 16, 0.0, 25.0};
    table.radii = std::size_t(std::sqrt(2.0) * (tile / 2.0 + 1) * 16) + 4;
    for (std::size_t i = 0; i < table.planes * table.radii; ++i)
        table.root.push_back(1.0F + 0.9F * std::sin(float(i) * 0.01F));
    return table;
}

template <class T>
void draw(unsigned seed) {
    Random dice(seed);
    const auto whole = [&](int low, int high) {
        return low + int(dice.uniform() * double(high - low + 1));
    };
    const int height = whole(1, 150), width = whole(1, 150), tile = whole(4, 90);
    const double full = sizeof(T) == 1 ? 255 : 65535;
    BeadScene scene(height, width, tile, rings(tile), 0.4 * full, full, seed, 100'000);
    const std::size_t pixels = std::size_t(height) * std::size_t(width), guard = 4096;
    std::vector<T> frame(pixels + 2 * guard, T(77));
    for (unsigned key = 0; key < 8; ++key) {
        scene.set_gain(key % 2 ? 0.5 : 0.0);
        std::vector<double> beads(3 * std::size_t(whole(0, 12)));
        for (std::size_t i = 0; i < beads.size(); i += 3) {
            beads[i] = -100 + dice.uniform() * (width + 200);
            beads[i + 1] = -100 + dice.uniform() * (height + 200);
            beads[i + 2] = -100 + dice.uniform() * 300;
        }
        if (key == 7 && !beads.empty()) beads[0] = 1e300;
        scene.draw(frame.data() + guard, key, beads.data(), beads.size() / 3, 10.0);

        const auto untouched = [](T value) { return value == T(77); };
        expect(std::all_of(frame.begin(), frame.begin() + guard, untouched) &&
                   std::all_of(frame.end() - guard, frame.end(), untouched),
               "written outside the frame", seed);
        if (key % 2) continue;
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) {
                bool free = true;
                for (std::size_t i = 0; i < beads.size(); i += 3)
                    free = free && (std::abs(x - beads[i]) > tile / 2.0 + 1 ||
                                    std::abs(y - beads[i + 1]) > tile / 2.0 + 1);
                const T value = frame[guard + std::size_t(y * width + x)];
                expect(!free || value == T(0.4 * full), "no background far from beads", seed);
            }
    }
}

template <class T>
void fill(unsigned seed) {
    Random dice(seed);
    const std::size_t count = std::size_t(dice.uniform() * 100);
    std::vector<T> out(count), table(65536, T(3)), pool(200, T(5));
    fill_uniform(out.data(), count, seed, 1);
    fill_lookup(out.data(), count, table.data(), seed, 1);
    expect(std::all_of(out.begin(), out.end(), [](T v) { return v == T(3); }), "lookup", seed);
    const std::uint64_t number = 0x0102030405060708ull * seed, base = sizeof(T) == 1 ? 256 : 65536;
    fill_counter(out.data(), count, number);
    for (std::size_t i = 8; i < count; ++i)
        expect(out[i] == T((number + i) % base), "counter", seed);
    const std::size_t row = count / 5;
    fill_rows(out.data(), 5, row, pool.data(), pool.size() - row, seed, 1);
    expect(std::all_of(out.begin(), out.begin() + std::ptrdiff_t(5 * row),
                       [](T v) { return v == T(5); }),
           "rows", seed);
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 30; ++seed) {
        draw<std::uint8_t>(seed);
        draw<std::uint16_t>(seed);
        fill<std::uint8_t>(seed);
        fill<std::uint16_t>(seed);
        fill<float>(seed);
    }
    std::vector<double> state(9);
    ornstein_uhlenbeck(state.data(), 3, {0.5, 0.5, 0.5}, {1, 1, 1}, 1, 0, 1000);
    for (double x : state) expect(std::abs(x) < 10, "a bead ran away", 0);
    return failures == 0 ? 0 : 1;
}
