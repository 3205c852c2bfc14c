// Frames without a scene: noise and counters.
#include <cstring>
#include <type_traits>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "marey/synth.hpp"

namespace marey {

template <class T>
void fill_rows(T *out, std::size_t rows, std::size_t row, const T *pool, std::size_t pool_size,
               std::uint64_t seed, std::uint64_t key) {
    Random random(seed ^ 0x726F7773ull, key);
    // Whole cache lines are copied faster than parts of them.
    constexpr std::size_t line = 64 / sizeof(T);
    const std::size_t places = pool_size / line;
    for (std::size_t y = 0; y < rows; ++y) {
        const std::size_t from = places > 0 ? random.next() % places * line : 0;
        std::memcpy(out + y * row, pool + from, row * sizeof(T));
    }
}

template <class T>
void fill_uniform(T *out, std::size_t count, std::uint64_t seed, std::uint64_t key) {
    Random random(seed, key);
    if constexpr (std::is_floating_point_v<T>) {
        for (std::size_t i = 0; i < count; ++i)
            out[i] = static_cast<T>(random.next() >> 40) * static_cast<T>(0x1p-24);
    } else {
        constexpr std::size_t each = 8 / sizeof(T);
        std::size_t i = 0;
        for (; i + each <= count; i += each) {
            const std::uint64_t bits = random.next();
            std::memcpy(out + i, &bits, 8);
        }
        if (i < count) {
            const std::uint64_t bits = random.next();
            std::memcpy(out + i, &bits, (count - i) * sizeof(T));
        }
    }
}

template <class T>
void fill_lookup(T *out, std::size_t count, const T *table, std::uint64_t seed,
                 std::uint64_t key) {
    Random random(seed, key);
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const std::uint64_t bits = random.next();
        out[i] = table[bits & 0xFFFF];
        out[i + 1] = table[(bits >> 16) & 0xFFFF];
        out[i + 2] = table[(bits >> 32) & 0xFFFF];
        out[i + 3] = table[bits >> 48];
    }
    for (std::uint64_t bits = random.next(); i < count; ++i, bits >>= 16)
        out[i] = table[bits & 0xFFFF];
}

template <class T> void fill_counter(T *out, std::size_t count, std::uint64_t frame) {
    using Digit = std::conditional_t<sizeof(T) == 1, std::uint8_t, std::uint16_t>;
    constexpr std::size_t digits = 8 / sizeof(Digit);
    const std::uint64_t start = frame;
    for (std::size_t i = 0; i < digits && i < count; ++i)
        out[i] = static_cast<T>(static_cast<Digit>(frame >> (8 * sizeof(Digit) * i)));
    for (std::size_t i = digits; i < count; ++i)
        out[i] = static_cast<T>(static_cast<Digit>(start + i));
}

void sharpen_timers() {
#if defined(__linux__)
    prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
#endif
}

#define MAREY_FILL(T)                                                                             \
    template void fill_rows(T *, std::size_t, std::size_t, const T *, std::size_t, std::uint64_t, \
                            std::uint64_t);                                                       \
    template void fill_uniform(T *, std::size_t, std::uint64_t, std::uint64_t);                   \
    template void fill_lookup(T *, std::size_t, const T *, std::uint64_t, std::uint64_t);         \
    template void fill_counter(T *, std::size_t, std::uint64_t);

MAREY_FILL(std::uint8_t)
MAREY_FILL(std::uint16_t)
MAREY_FILL(float)

} // namespace marey
