#include "stream.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>

namespace marey::python {

using namespace nb::literals;

std::int64_t as_ns(const std::optional<double> &seconds) {
    if (!seconds || *seconds > 1e9) return kForever;
    if (std::isnan(*seconds)) throw StreamFault(Fault::error, "timeout: found nan, expected seconds");
    return *seconds <= 0 ? 0 : static_cast<std::int64_t>(*seconds * 1e9);
}

const nb::object &ndarray_type() {
    static const auto *type = new nb::object(nb::module_::import_("numpy").attr("ndarray"));
    return *type;
}

const nb::object &stamp_dtype() {
    static const auto *type = new nb::object(nb::module_::import_("marey.stream.spec").attr("STAMP"));
    return *type;
}

Views::Views(const Ring &ring, nb::object dtype, bool writable) : dtype_(std::move(dtype)) {
    const Geometry &g = ring.geometry;
    nb::capsule owner(new std::shared_ptr<Mapping>(ring.data), [](void *p) noexcept {
        delete static_cast<std::shared_ptr<Mapping> *>(p);
    });
    const std::size_t shape[2] = {2 * g.slots, g.stride};
    void *base = ring.data->data();
    bytes_ = writable ? nb::cast(nb::ndarray<nb::numpy, std::uint8_t>(base, 2, shape, owner))
                      : nb::cast(nb::ndarray<nb::numpy, const std::uint8_t>(base, 2, shape, owner));
    nb::list extents, strides;
    extents.append(2 * g.slots);
    strides.append(g.stride);
    std::uint64_t step = g.item_bytes();
    for (const std::uint64_t n : g.shape) {
        step /= n;
        extents.append(n);
        strides.append(step);
    }
    // ndarray(shape, dtype, buffer, offset, strides)
    items_ = ndarray_type()(nb::tuple(extents), dtype_, "buffer"_a = bytes_,
                            "strides"_a = nb::tuple(strides));
}

nb::object Views::part(std::uint64_t slot, const std::uint32_t *shape, const Geometry &g) const {
    if (std::equal(g.shape.begin() + 1, g.shape.end(), shape + 1)) {
        nb::object whole = item(slot);
        return nb::steal(checked(PySequence_GetSlice(whole.ptr(), 0, ssize(shape[0]))));
    }
    std::uint64_t n = g.itemsize;
    nb::list extents;
    for (std::size_t d = 0; d < g.shape.size(); ++d) {
        n *= shape[d];
        extents.append(shape[d]);
    }
    nb::object row = nb::steal(checked(PySequence_GetItem(bytes_.ptr(), ssize(slot))));
    nb::object used = nb::steal(checked(PySequence_GetSlice(row.ptr(), 0, ssize(n))));
    return used.attr("view")(dtype_).attr("reshape")(nb::tuple(extents));
}

Attached attached(std::shared_ptr<Ring> ring, bool writable) {
    nb::object spec;
    try {
        // As bytes: they may be no text at all.
        spec = nb::module_::import_("marey.stream.spec")
                   .attr("Spec")
                   .attr("from_json")(nb::bytes(ring->spec.data(), ring->spec.size()));
    } catch (nb::python_error &error) {
        if (!error.matches(nb::module_::import_("marey.errors").attr("StreamError"))) throw;
        throw StreamFault(Fault::damaged, "stream '" + ring->name + "': " +
                                              nb::cast<std::string>(nb::str(error.value())));
    }
    nb::object dtype = spec.attr("dtype");
    if (nb::cast<std::uint64_t>(dtype.attr("itemsize")) != ring->geometry.itemsize ||
        nb::cast<Shape>(spec.attr("shape")) != ring->geometry.shape)
        throw StreamFault(Fault::damaged, "stream '" + ring->name +
                                              "': its description and its header disagree");
    auto views = std::make_shared<Views>(*ring, std::move(dtype), writable);
    return {std::move(ring), std::move(views)};
}

bool full_shape(const marey_slot &slot, const Geometry &g) {
    return std::equal(g.shape.begin(), g.shape.end(), slot.shape);
}

bool wait_for(const std::function<bool()> &ready, const std::vector<const Reader *> &readers,
              Doorbell *bell, std::int64_t timeout_ns) {
    const std::int64_t until = mono_ns() + timeout_ns;
    std::vector<Watched> words;
    // While we sleep, another thread may let a reader follow to another segment.
    std::vector<std::shared_ptr<Ring>> rings;
    for (;;) {
        words.clear();
        rings.clear();
        if (bell != nullptr)
            words.push_back({&bell->word(), bell->word().load(std::memory_order_acquire)});
        for (const Reader *reader : readers) {
            rings.push_back(reader->ring());
            words.push_back(reader->watch());
        }
        if (ready()) return true;
        const std::int64_t left = until - mono_ns();
        if (left <= 0) return false;
        {
            nb::gil_scoped_release released;
            if (words.empty()) sleep_until(mono_ns() + std::min(left, kSlice));
            else wait_on_any(words.data(), words.size(), std::min(left, kSlice));
        }
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

}  // namespace marey::python
