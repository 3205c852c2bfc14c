#include <nanobind/stl/string.h>

#include <cstring>

#include "stream.hpp"

namespace marey::python {

namespace {

nb::object view_of(const Attached &at, const marey_slot &slot, std::uint64_t seq) {
    const Geometry &g = at.ring->geometry;
    const std::uint64_t index = seq % g.slots;
    return full_shape(slot, g) ? at.views->item(index) : at.views->part(index, slot.shape, g);
}

template <class T> nb::object copy_of(const T &items, std::uint64_t seq) {
    nb::object copied = items.data().attr("copy")();
    if (!items.valid())
        throw StreamFault(Fault::error, "stream '" + items.at.ring->name + "': item " +
                                            std::to_string(seq) +
                                            " was overwritten while it was in use");
    return copied;
}

nb::object as_range(std::uint64_t from, std::uint64_t to) {
    return nb::steal(checked(PyObject_CallFunction(reinterpret_cast<PyObject *>(&PyRange_Type), "KK",
                                                   static_cast<unsigned long long>(from),
                                                   static_cast<unsigned long long>(to))));
}

nb::object known(std::uint64_t value) { return value == MAREY_UNKNOWN ? nb::none() : nb::cast(value); }

nb::object known_time(std::int64_t value) {
    return value == MAREY_UNKNOWN_TIME ? nb::none() : nb::cast(value);
}

}  // namespace

nb::object stamps_array(const std::vector<marey_stamp> &stamps) {
    static const auto *empty = new nb::object(nb::module_::import_("numpy").attr("empty"));
    nb::object array = (*empty)(stamps.size(), stamp_dtype());
    Py_buffer view{};
    if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
    std::memcpy(view.buf, stamps.data(), stamps.size() * sizeof(marey_stamp));
    PyBuffer_Release(&view);
    return array;
}

nb::object Frame::data() const { return view_of(at, slot, seq()); }
nb::object Frame::copy() const { return copy_of(*this, seq()); }

nb::object Block::data() const {
    for (std::uint64_t i = 0; i < item.count; ++i)
        if (!full_shape(slot(i), at.ring->geometry))
            throw StreamFault(Fault::error, "stream '" + at.ring->name +
                                                "': items of differing shape have no common view; "
                                                "take them one by one");
    return at.views->block(item.seq % at.ring->geometry.slots, item.count);
}

nb::object Block::at_index(std::int64_t i) const {
    const auto count = static_cast<std::int64_t>(item.count);
    if (i < -count || i >= count) throw nb::index_error("block index out of range");
    const auto n = static_cast<std::uint64_t>(i < 0 ? i + count : i);
    return view_of(at, slot(n), item.seq + n);
}

nb::object Block::copy() const { return copy_of(*this, item.seq); }

nb::object Block::stamps() const {
    std::vector<marey_stamp> all;
    all.reserve(item.count);
    for (std::uint64_t i = 0; i < item.count; ++i) all.push_back(slot(i).stamp);
    return stamps_array(all);
}

void bind_frames(nb::module_ &m) {
    nb::class_<Frame>(m, "Frame", "One item of a stream: a view of shared memory and its stamps.")
        .def_prop_ro("data", &Frame::data)
        .def_prop_ro("seq", &Frame::seq)
        .def_prop_ro("source_seq", [](const Frame &f) { return known(f.slot.stamp.source_seq); })
        .def_prop_ro("device_frame", [](const Frame &f) { return known(f.slot.stamp.device_frame); })
        .def_prop_ro("device_time", [](const Frame &f) { return known_time(f.slot.stamp.device_time); })
        .def_prop_ro("host_time", [](const Frame &f) { return f.slot.stamp.host_time; })
        .def_prop_ro("mono_time", [](const Frame &f) { return f.slot.stamp.mono_time; })
        .def_prop_ro("published", [](const Frame &f) { return f.slot.stamp.published; })
        .def_prop_ro("epoch", [](const Frame &f) { return f.slot.epoch; })
        .def_prop_ro("lost", [](const Frame &f) { return as_range(f.lost_from, f.lost_to); })
        .def_prop_ro("stamps", [](const Frame &f) { return stamps_array({f.slot.stamp}); })
        .def("valid", &Frame::valid)
        .def("copy", &Frame::copy)
        .def("__repr__", [](const Frame &f) {
            return "<Frame " + std::to_string(f.seq()) + " of " + f.at.ring->name + ">";
        });

    nb::class_<Block>(m, "Block", "Consecutive items of a stream seen as one view, without a copy.")
        .def_prop_ro("data", &Block::data)
        .def_prop_ro("seq", [](const Block &b) { return b.item.seq; })
        .def_prop_ro("epoch", [](const Block &b) { return b.item.slot.epoch; })
        .def_prop_ro("lost", [](const Block &b) { return as_range(b.item.lost_from, b.item.lost_to); })
        .def_prop_ro("stamps", &Block::stamps)
        .def("valid", &Block::valid)
        .def("copy", &Block::copy)
        .def("__len__", [](const Block &b) { return b.item.count; })
        .def("__getitem__", &Block::at_index)
        .def("__repr__", [](const Block &b) {
            return "<Block " + std::to_string(b.item.seq) + ":" +
                   std::to_string(b.item.seq + b.item.count) + " of " + b.at.ring->name + ">";
        });
}

}  // namespace marey::python
