#include "synth_kernels.hpp"

#include <cstdlib>
#include <cstring>

// Each loop is written once, in plain C++ that compilers turn into vector code, and compiled for
// several instruction sets. A table of functions chooses between them: `target_clones` would do
// the same, but its resolvers run before the sanitizers are ready. Floating point must not be
// contracted to fused operations, or frames of one seed would differ between processors: CMake
// compiles this file with -ffp-contract=off.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && __GNUC__ >= 12
#define MAREY_X86_LEVELS 1
#endif

#if defined(__GNUC__)
#define MAREY_INLINE static inline __attribute__((always_inline))
#else
#define MAREY_INLINE static inline
#endif

#if defined(__clang__)
#define MAREY_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define MAREY_INDEPENDENT _Pragma("GCC ivdep")
#else
#define MAREY_INDEPENDENT
#endif

namespace marey::synth {
namespace {

using i16 = std::int16_t;

// Product of Q15 numbers, rounded; in this form GCC knows it as pmulhrsw.
MAREY_INLINE i16 mul(i16 a, i16 b) {
    return static_cast<i16>((((static_cast<int>(a) * static_cast<int>(b)) >> 14) + 1) >> 1);
}

MAREY_INLINE i16 add(i16 a, i16 b) { return static_cast<i16>(a + b); }

// Pointers to one row of the four tiles, held in locals so that the loops see them as constant.
struct Row {
    const i16 *a, *b, *c, *d;
    i16 wa, wb, wc, wd;

    MAREY_INLINE Row at(const Mix &m, std::ptrdiff_t y) {
        const std::ptrdiff_t o = y * m.stride;
        return {m.tile[0] + o, m.tile[1] + o, m.tile[2] + o, m.tile[3] + o,
                m.weight[0],   m.weight[1],   m.weight[2],   m.weight[3]};
    }
};

MAREY_INLINE i16 mixed(const Row &r, int x) {
    return add(add(mul(r.a[x], r.wa), mul(r.b[x], r.wb)),
               add(mul(r.c[x], r.wc), mul(r.d[x], r.wd)));
}

MAREY_INLINE float clamped(float value, float top) {
    value = value < 0.0f ? 0.0f : value;
    return value > top ? top : value;
}

// Patches are taken by value: to the compiler a store of uint8_t may change whatever is reached
// through a reference, the width of the loop included.
MAREY_INLINE void draw_u8_body(const Patch<std::uint8_t> to, const Mix &m, const i16 *noise,
                               i16 bias, Random &random) {
    for (int y = 0; y < to.height; ++y) {
        const Row r = Row::at(m, y);
        const i16 *n = noise + (random.next() & (noise_period - 1));
        std::uint8_t *out = to.pixels + y * to.stride;
        MAREY_INDEPENDENT
        for (int x = 0; x < to.width; ++x) {
            const i16 q = add(mixed(r, x), n[x]);
            i16 v = static_cast<i16>(add(mul(q, q), bias) >> 5);
            v = v < 0 ? i16{0} : v;
            v = v > 255 ? i16{255} : v;
            out[x] = static_cast<std::uint8_t>(v);
        }
    }
}

MAREY_INLINE void draw_u16_body(const Patch<std::uint16_t> to, const Mix &m, const float *noise,
                                float scale, float bias, float full_scale, Random &random) {
    for (int y = 0; y < to.height; ++y) {
        const Row r = Row::at(m, y);
        const float *n = noise + (random.next() & (noise_period - 1));
        std::uint16_t *out = to.pixels + y * to.stride;
        MAREY_INDEPENDENT
        for (int x = 0; x < to.width; ++x) {
            const float q = static_cast<float>(mixed(r, x)) * scale + n[x];
            out[x] = static_cast<std::uint16_t>(
                static_cast<int>(clamped(q * q + bias, full_scale)));
        }
    }
}

MAREY_INLINE void multiply_body(const Patch<float> to, const Mix &m, float scale) {
    for (int y = 0; y < to.height; ++y) {
        const Row r = Row::at(m, y);
        float *out = to.pixels + y * to.stride;
        MAREY_INDEPENDENT
        for (int x = 0; x < to.width; ++x)
            out[x] *= static_cast<float>(mixed(r, x)) * scale;
    }
}

template <class T>
MAREY_INLINE void expose_body(const Patch<T> to, const float *plane, const float *noise,
                              float root, float bias, float full_scale, Random &random) {
    for (int y = 0; y < to.height; ++y) {
        const float *n = noise + (random.next() & (noise_period - 1));
        const float *s = plane + y * to.stride;
        T *out = to.pixels + y * to.stride;
        MAREY_INDEPENDENT
        for (int x = 0; x < to.width; ++x) {
            const float q = s[x] * root + n[x];
            out[x] = static_cast<T>(static_cast<int>(clamped(q * q + bias, full_scale)));
        }
    }
}

#define MAREY_KERNELS(LEVEL, TARGET)                                                              \
    TARGET void draw_u8_##LEVEL(const Patch<std::uint8_t> &to, const Mix &m, const i16 *noise,    \
                                i16 bias, Random &random) {                                       \
        draw_u8_body(to, m, noise, bias, random);                                                 \
    }                                                                                             \
    TARGET void draw_u16_##LEVEL(const Patch<std::uint16_t> &to, const Mix &m, const float *n,    \
                                 float scale, float bias, float top, Random &random) {            \
        draw_u16_body(to, m, n, scale, bias, top, random);                                        \
    }                                                                                             \
    TARGET void multiply_##LEVEL(const Patch<float> &to, const Mix &m, float scale) {             \
        multiply_body(to, m, scale);                                                              \
    }                                                                                             \
    TARGET void expose_u8_##LEVEL(const Patch<std::uint8_t> &to, const float *s, const float *n,  \
                                  float root, float bias, float top, Random &random) {            \
        expose_body(to, s, n, root, bias, top, random);                                           \
    }                                                                                             \
    TARGET void expose_u16_##LEVEL(const Patch<std::uint16_t> &to, const float *s,                \
                                   const float *n, float root, float bias, float top,             \
                                   Random &random) {                                              \
        expose_body(to, s, n, root, bias, top, random);                                           \
    }                                                                                             \
    constexpr Kernels level_##LEVEL {                                                             \
        #LEVEL, draw_u8_##LEVEL, draw_u16_##LEVEL, multiply_##LEVEL, expose_u8_##LEVEL,           \
            expose_u16_##LEVEL                                                                    \
    }

MAREY_KERNELS(portable, );
#if defined(MAREY_X86_LEVELS)
MAREY_KERNELS(v2, __attribute__((target("arch=x86-64-v2"))));
MAREY_KERNELS(v3, __attribute__((target("arch=x86-64-v3"))));
MAREY_KERNELS(v4, __attribute__((target("arch=x86-64-v4,prefer-vector-width=512"))));
#endif

const Kernels &choose() {
#if defined(MAREY_X86_LEVELS)
    const char *limit = std::getenv("MAREY_SIMD"); // for tests: the levels must agree bit for bit
    const auto allowed = [limit](const char *level) {
        return limit == nullptr || (limit[0] == 'v' && std::strcmp(level, limit) <= 0);
    };
    __builtin_cpu_init();
    if (allowed("v4") && __builtin_cpu_supports("x86-64-v4"))
        return level_v4;
    if (allowed("v3") && __builtin_cpu_supports("x86-64-v3"))
        return level_v3;
    if (allowed("v2") && __builtin_cpu_supports("x86-64-v2"))
        return level_v2;
#endif
    return level_portable;
}

} // namespace

const Kernels &kernels() {
    static const Kernels &chosen = choose();
    return chosen;
}

} // namespace marey::synth
