#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "marey/beads.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace marey::beads;

namespace {

using Image = nb::ndarray<nb::ro, nb::device::cpu>;
template <class T, class... Rest>
using In = nb::ndarray<const T, nb::device::cpu, nb::c_contig, Rest...>;
template <class T, class... Rest>
using Out = nb::ndarray<T, nb::device::cpu, nb::c_contig, Rest...>;

[[noreturn]] void refuse(const std::string &why) { throw nb::value_error(why.c_str()); }

template <class T>
View<T> view(const Image &image) {
    return {static_cast<const T *>(image.data()), std::ptrdiff_t(image.shape(0)),
            std::ptrdiff_t(image.shape(1)), std::ptrdiff_t(image.stride(0)),
            std::ptrdiff_t(image.stride(1))};
}

/// Call `work` with the image as a View of its type, without the GIL.
template <class Work>
auto with_view(const Image &image, Work work) {
    if (image.ndim() != 2 || image.shape(0) < 3 || image.shape(1) < 3)
        refuse("image: expected two dimensions of 3 or more pixels");
    const nb::dlpack::dtype type = image.dtype();
    nb::gil_scoped_release free;
    if (type == nb::dtype<std::uint8_t>()) return work(view<std::uint8_t>(image));
    if (type == nb::dtype<std::uint16_t>()) return work(view<std::uint16_t>(image));
    if (type == nb::dtype<float>()) return work(view<float>(image));
    throw std::invalid_argument("image: expected pixels of type uint8, uint16 or float32");
}

Tile whole(const Image &region) {
    return with_view(region, [](const auto &image) {
        Tile tile;
        cut(image, 0, 0, int(image.width), int(image.height), 0.0F, tile);
        return tile;
    });
}

template <class T>
nb::ndarray<nb::numpy, T> own(std::vector<T> values, std::initializer_list<std::size_t> shape) {
    auto *kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    return nb::ndarray<nb::numpy, T>(kept->data(), shape, owner);
}

void check_radii(float step, int radii) {
    if (!(step >= 0.75F && step <= 16) || radii < 3 || radii > 1024)
        refuse("profile: expected a step of 0.75 to 16 px and 3 to 1024 radii");
}

void track_beads(const Image &image, In<double, nb::shape<-1, 2>> starts, int size, float step,
                 int radii, float min_quality, float min_likeness, float saturation,
                 const RadialTable *table, Out<double, nb::shape<-1, 3>> places,
                 Out<float, nb::shape<-1>> quality, Out<std::uint8_t, nb::shape<-1>> status,
                 std::optional<Out<float, nb::ndim<2>>> profiles) {
    check_radii(step, radii);
    const std::size_t count = starts.shape(0);
    if (size < 16 || size > 4096) refuse("size: expected 16 to 4096 px");
    if (places.shape(0) != count || quality.shape(0) != count || status.shape(0) != count)
        refuse("track_beads: the arrays for results must have one row for each start");
    if (profiles && (profiles->shape(0) != count || profiles->shape(1) != std::size_t(radii)))
        refuse("track_beads: `profiles` must be (beads, radii)");
    const Method method{size, step, radii, min_quality, min_likeness, saturation};
    with_view(image, [&](const auto &frame) {
        thread_local Workspace work;
        for (std::size_t i = 0; i < count; ++i) {
            std::span<float> profile;
            if (profiles) profile = {profiles->data() + i * std::size_t(radii), std::size_t(radii)};
            const Bead bead = track(frame, {starts.data()[2 * i], starts.data()[2 * i + 1]},
                                    method, table, work, profile);
            double *place = places.data() + 3 * i;
            place[0] = bead.x;
            place[1] = bead.y;
            place[2] = bead.z;
            quality.data()[i] = bead.quality;
            status.data()[i] = std::uint8_t(bead.status);
        }
    });
}

void check_map(const Image &image, const Out<float, nb::ndim<2>> &out) {
    if (image.ndim() != 2 || out.shape(0) != image.shape(0) || out.shape(1) != image.shape(1))
        refuse("out: expected the shape of the image");
}

/// The rings about (x, y), with their profile.
Rings about(const Image &image, double x, double y, float step, int radii) {
    check_radii(step, radii);
    Rings rings(step, radii);
    const auto room = [&](double at, std::size_t length) {
        return std::isfinite(at) && std::lround(at) >= rings.reach() &&
               std::lround(at) + rings.reach() < std::ptrdiff_t(length);
    };
    if (image.ndim() != 2 || !room(x, image.shape(1)) || !room(y, image.shape(0)))
        refuse("profile: the circle leaves the image");
    const std::ptrdiff_t left = std::lround(x), top = std::lround(y);
    with_view(image, [&](const auto &frame) {
        rings.gather(frame, left, top, 0.0F);
        rings.profile(x - double(left), y - double(top));
    });
    return rings;
}

template <class T>
bool luma_as(const Image &rgb, const nb::ndarray<nb::device::cpu, nb::c_contig, nb::ndim<2>> &out) {
    if (rgb.dtype() != nb::dtype<T>() || out.dtype() != nb::dtype<T>()) return false;
    nb::gil_scoped_release free;
    luma(static_cast<const T *>(rgb.data()), std::ptrdiff_t(rgb.shape(0)),
         std::ptrdiff_t(rgb.shape(1)), std::ptrdiff_t(rgb.stride(0)), static_cast<T *>(out.data()));
    return true;
}

void luma_of(const Image &rgb, nb::ndarray<nb::device::cpu, nb::c_contig, nb::ndim<2>> out) {
    if (rgb.ndim() != 3 || rgb.shape(2) != 3 || rgb.stride(2) != 1 || rgb.stride(1) != 3)
        refuse("rgb: expected (height, width, 3) with pixels side by side");
    if (rgb.shape(0) != out.shape(0) || rgb.shape(1) != out.shape(1))
        refuse("out: expected the height and width of the image");
    if (!luma_as<std::uint8_t>(rgb, out) && !luma_as<std::uint16_t>(rgb, out) &&
        !luma_as<float>(rgb, out))
        refuse("rgb, out: expected both of type uint8, uint16 or float32");
}

void bind_stages(nb::module_ &m) {
    m.def(
        "border_level",
        [](const Image &region) {
            std::vector<float> scratch;
            const Level level = border_level(whole(region), scratch);
            return std::tuple(level.median, level.spread);
        },
        "region"_a);
    m.def(
        "centre_of_mass",
        [](const Image &region, float level, float floor) -> std::optional<std::tuple<double, double>> {
            Point centre{0, 0};
            std::vector<float> scratch;
            if (!centre_of_mass(whole(region), level, floor, centre, scratch)) return std::nullopt;
            return std::tuple(centre.x, centre.y);
        },
        "region"_a, "level"_a, "floor"_a);
    m.def(
        "mirror_centre",
        [](const Image &region, double x, double y) -> std::optional<std::tuple<double, double>> {
            if (!std::isfinite(x) || !std::isfinite(y)) refuse("start: expected finite numbers");
            Point centre{x, y};
            std::vector<float> scratch;
            if (!mirror_centre(whole(region), centre, scratch)) return std::nullopt;
            return std::tuple(centre.x, centre.y);
        },
        "region"_a, "x"_a, "y"_a);
    m.def(
        "radial_profile",
        [](const Image &image, double x, double y, float step, int radii) {
            Rings rings = about(image, x, y, step, radii);
            const std::span<const float> mean = rings.mean(), weight = rings.weight();
            return std::tuple(own(std::vector(mean.begin(), mean.end()), {mean.size()}),
                              own(std::vector(weight.begin(), weight.end()), {weight.size()}));
        },
        "image"_a, "x"_a, "y"_a, "step"_a, "radii"_a);
    m.def(
        "ring_fit",
        [](const Image &image, double x, double y, float step, In<float, nb::shape<-1>> profile,
           float saturation) {
            Rings rings = about(image, x, y, step, int(profile.shape(0)));
            rings.set_profile({profile.data(), profile.size()});
            const Fit fit = rings.fit(saturation);
            return std::tuple(fit.shift.x, fit.shift.y, fit.quality, fit.saturated);
        },
        "image"_a, "x"_a, "y"_a, "step"_a, "profile"_a, "saturation"_a);
}

}  // namespace

void bind_beads(nb::module_ &m) {
    bind_stages(m);

    nb::class_<RadialTable>(m, "RadialTable")
        .def(
            "__init__",
            [](RadialTable *self, In<float, nb::ndim<2>> profiles, In<double, nb::shape<-1>> z) {
                if (profiles.shape(0) != z.shape(0) || z.shape(0) < 4 || profiles.shape(1) < 3)
                    refuse("table: expected 4 or more heights of 3 or more radii");
                new (self) RadialTable({profiles.data(), profiles.size()}, {z.data(), z.size()});
            },
            "profiles"_a, "z"_a)
        .def(
            "match",
            [](const RadialTable &self, In<float, nb::shape<-1>> profile) {
                if (profile.shape(0) < 3) refuse("profile: expected 3 or more radii");
                const auto found = self.match({profile.data(), profile.size()});
                return std::tuple(found.z, found.likeness, found.inside);
            },
            "profile"_a);

    m.def("track_beads", &track_beads, "image"_a.noconvert(), "starts"_a.noconvert(), "size"_a,
          "step"_a, "radii"_a, "min_quality"_a, "min_likeness"_a, "saturation"_a,
          "table"_a.none(), "places"_a.noconvert(), "quality"_a.noconvert(),
          "status"_a.noconvert(), "profiles"_a.noconvert().none() = nb::none());
    m.def(
        "ring_votes",
        [](const Image &image, int nearest, int farthest, Out<float, nb::ndim<2>> out) {
            check_map(image, out);
            with_view(image, [&](const auto &frame) {
                ring_votes(frame, nearest, farthest, out.data());
            });
        },
        "image"_a.noconvert(), "nearest"_a, "farthest"_a, "out"_a.noconvert());
    m.def(
        "bandpass",
        [](const Image &image, int box, float sign, Out<float, nb::ndim<2>> out) {
            check_map(image, out);
            if (image.stride(1) != 1) refuse("image: expected rows of adjacent pixels");
            if (box < 1 || box > 1024) refuse("box: expected 1 to 1024 px");
            with_view(image,
                      [&](const auto &frame) { bandpass(frame, box, sign, out.data()); });
        },
        "image"_a.noconvert(), "box"_a, "sign"_a, "out"_a.noconvert());
    m.def(
        "peaks",
        [](In<float, nb::ndim<2>> map, float threshold, float separation, int margin, int most) {
            std::vector<Peak> found;
            {
                nb::gil_scoped_release free;
                found = peaks(map.data(), int(map.shape(0)), int(map.shape(1)), threshold,
                              separation, margin, std::size_t(std::max(0, most)));
            }
            std::vector<float> rows;
            for (const Peak &peak : found) rows.insert(rows.end(), {peak.x, peak.y, peak.height});
            return own(std::move(rows), {found.size(), 3});
        },
        "map"_a.noconvert(), "threshold"_a, "separation"_a, "margin"_a, "most"_a);
    m.def(
        "centroids",
        [](In<float, nb::ndim<2>> map, In<float, nb::shape<-1, 3>> found, float radius) {
            std::vector<Spot> spots;
            std::vector<Peak> starts;
            for (std::size_t i = 0; i < found.shape(0); ++i)
                starts.push_back({found.data()[3 * i], found.data()[3 * i + 1],
                                  found.data()[3 * i + 2]});
            {
                nb::gil_scoped_release free;
                spots = centroids(map.data(), int(map.shape(0)), int(map.shape(1)), starts, radius);
            }
            std::vector<double> rows;
            for (const Spot &spot : spots)
                rows.insert(rows.end(), {spot.x, spot.y, double(spot.mass), double(spot.size)});
            return own(std::move(rows), {spots.size(), 4});
        },
        "map"_a.noconvert(), "peaks"_a.noconvert(), "radius"_a);
    m.def("luma", &luma_of, "rgb"_a.noconvert(), "out"_a.noconvert());
}
