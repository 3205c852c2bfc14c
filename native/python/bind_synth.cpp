#include <array>
#include <stdexcept>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include "marey/synth.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T> using Frame = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
template <class T> using Frame2 = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T> using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Positions = nb::ndarray<const double, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using State = nb::ndarray<double, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;

marey::BeadScene *make_scene(std::array<int, 2> shape, int tile, const Table &root,
                             double radial_step, double first_z, double z_step, double background,
                             double full_scale, std::uint64_t seed, std::size_t cache_bytes) {
    marey::BeadScene::Table table{{root.data(), root.data() + root.size()},
                                  root.shape(0),
                                  root.shape(1),
                                  radial_step,
                                  first_z,
                                  z_step};
    return new marey::BeadScene(shape[0], shape[1], tile, std::move(table), background, full_scale,
                                seed, cache_bytes);
}

template <class T>
void draw(marey::BeadScene &scene, const Frame2<T> &out, std::uint64_t key,
          const Positions &positions, double focus) {
    if (static_cast<int>(out.shape(0)) != scene.height() ||
        static_cast<int>(out.shape(1)) != scene.width())
        throw std::invalid_argument("BeadScene: the frame's shape is not the scene's");
    nb::gil_scoped_release released;
    scene.draw(out.data(), key, positions.data(), positions.shape(0), focus);
}

template <class T> void bind_fill(nb::module_ &m) {
    m.def(
        "fill_rows",
        [](const Frame2<T> &out, const Vector<T> &pool, std::uint64_t seed, std::uint64_t key) {
            if (pool.size() < out.shape(1) + 1)
                throw std::invalid_argument("fill_rows: the pool is no longer than a row");
            nb::gil_scoped_release released;
            marey::fill_rows(out.data(), out.shape(0), out.shape(1), pool.data(),
                             pool.size() - out.shape(1), seed, key);
        },
        "out"_a.noconvert(), "pool"_a.noconvert(), "seed"_a, "key"_a,
        "Copy each row of `out` from a place in `pool` that depends on seed, key and row.");
    m.def(
        "fill_uniform",
        [](const Frame<T> &out, std::uint64_t seed, std::uint64_t key) {
            nb::gil_scoped_release released;
            marey::fill_uniform(out.data(), out.size(), seed, key);
        },
        "out"_a.noconvert(), "seed"_a, "key"_a,
        "Independent pixels, all values of the type alike; float32: 0 to 1.");
    m.def(
        "fill_lookup",
        [](const Frame<T> &out, const Vector<T> &table, std::uint64_t seed, std::uint64_t key) {
            if (table.size() != 65536)
                throw std::invalid_argument("fill_lookup: a table has 65,536 entries");
            nb::gil_scoped_release released;
            marey::fill_lookup(out.data(), out.size(), table.data(), seed, key);
        },
        "out"_a.noconvert(), "table"_a.noconvert(), "seed"_a, "key"_a,
        "Independent pixels, each one of the 65,536 quantiles in `table`.");
    m.def(
        "fill_counter",
        [](const Frame<T> &out, const Vector<std::uint64_t> &frames) {
            if (out.ndim() < 2 || out.shape(0) != frames.size())
                throw std::invalid_argument("fill_counter: one number for each frame of `out`");
            nb::gil_scoped_release released;
            const std::size_t each = frames.size() > 0 ? out.size() / frames.size() : 0;
            for (std::size_t i = 0; i < frames.size(); ++i)
                marey::fill_counter(out.data() + i * each, each, frames.data()[i]);
        },
        "out"_a.noconvert(), "frames"_a.noconvert(),
        "Write each frame's number into its pixels; the layout is told by `cameras.counter`.");
}

} // namespace

void bind_synth(nb::module_ &m) {
    nb::class_<marey::BeadScene>(m, "BeadScene", "A bright-field scene drawn from tables.")
        .def(nb::new_(&make_scene), "shape"_a, "tile"_a, "root"_a.noconvert(), "radial_step"_a,
             "first_z"_a, "z_step"_a, "background"_a, "full_scale"_a, "seed"_a,
             "cache_bytes"_a = std::size_t{256} << 20)
        .def("set_gain", &marey::BeadScene::set_gain, "gain"_a)
        .def("draw", &draw<std::uint8_t>, "out"_a.noconvert(), "key"_a, "positions"_a.noconvert(),
             "focus"_a = 0.0)
        .def("draw", &draw<std::uint16_t>, "out"_a.noconvert(), "key"_a,
             "positions"_a.noconvert(), "focus"_a = 0.0)
        .def_prop_ro("tiles", &marey::BeadScene::tiles, "Tiles drawn so far and kept.");

    m.def(
        "ornstein_uhlenbeck",
        [](const State &state, std::array<double, 3> decay, std::array<double, 3> kick,
           std::uint64_t seed, std::uint64_t first, std::uint64_t frames) {
            nb::gil_scoped_release released;
            marey::ornstein_uhlenbeck(state.data(), state.shape(0), decay, kick, seed, first,
                                      frames);
        },
        "state"_a.noconvert(), "decay"_a, "kick"_a, "seed"_a, "first"_a, "frames"_a,
        "state = decay * state + kick * normal(seed, frame), for `frames` frames from `first` on.");
    bind_fill<std::uint8_t>(m);
    bind_fill<std::uint16_t>(m);
    bind_fill<float>(m);
    m.def("sharpen_timers", &marey::sharpen_timers,
          "Let this thread's sleeps end within 1 us of their time, where the system can.");
}
