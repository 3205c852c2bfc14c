#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>

#include "marey/writer.hpp"
#include "stream.hpp"

namespace marey::python {

using namespace nb::literals;

namespace {

std::string text(nb::handle object) { return nb::cast<std::string>(nb::str(object)); }

// The caller's array, checked to be one of the stream's items, or a block of them.
class Given {
  public:
    Given(nb::handle array, const Attached &to, bool block) : array_(nb::borrow(array)), to_(to) {
        if (!nb::isinstance(array, ndarray_type())) {
            const nb::object type = nb::borrow(array.type());
            refuse(Fault::error, "found " + text(type.attr("__name__")) + ", expected an array of " +
                                     text(to.views->dtype()));
        }
        const nb::object dtype = array.attr("dtype");
        if (!dtype.is(to.views->dtype()) && !dtype.equal(to.views->dtype()))
            refuse(Fault::error,
                   "found dtype " + text(dtype) + ", expected " + text(to.views->dtype()));
        if (PyObject_GetBuffer(array.ptr(), &view_, PyBUF_STRIDES) != 0) {
            // Dates have no place in the buffer protocol; their bytes do.
            PyErr_Clear();
            array_ = array_.attr("view")("V" + std::to_string(to.ring->geometry.itemsize));
            if (PyObject_GetBuffer(array_.ptr(), &view_, PyBUF_STRIDES) != 0) throw nb::python_error();
            array_ = nb::borrow(array);
        }
        try {
            check_shape(block);
        } catch (...) {
            PyBuffer_Release(&view_);
            throw;
        }
    }
    ~Given() { PyBuffer_Release(&view_); }
    Given(const Given &) = delete;
    Given &operator=(const Given &) = delete;

    std::uint64_t extent(std::size_t d) const { return static_cast<std::uint64_t>(view_.shape[d]); }
    bool contiguous() const { return PyBuffer_IsContiguous(&view_, 'C') != 0; }
    std::size_t bytes() const { return static_cast<std::size_t>(view_.len); }
    const std::byte *data() const { return static_cast<const std::byte *>(view_.buf); }
    nb::object items(std::uint64_t from, std::uint64_t n) const {
        return nb::steal(checked(PySequence_GetSlice(array_.ptr(), static_cast<Py_ssize_t>(from),
                                                     static_cast<Py_ssize_t>(from + n))));
    }
    const nb::object &array() const { return array_; }

  private:
    // Items may be smaller than their slot, those of a block may not.
    void check_shape(bool block) const {
        const Shape &most = to_.ring->geometry.shape;
        const std::size_t skip = block ? 1 : 0;
        if (static_cast<std::size_t>(view_.ndim) != most.size() + skip) wrong_shape(Fault::error, block);
        for (std::size_t d = 0; d < most.size(); ++d) {
            if (extent(d + skip) > most[d]) wrong_shape(Fault::too_large, block);
            if (block && extent(d + skip) < most[d]) wrong_shape(Fault::error, block);
        }
    }

    [[noreturn]] void wrong_shape(Fault kind, bool block) const {
        std::string most;
        for (const std::uint64_t n : to_.ring->geometry.shape)
            most += (most.empty() ? "" : ", ") + std::to_string(n);
        refuse(kind, "found shape " + text(array_.attr("shape")) + ", expected " +
                         (block ? "(n, " : "at most (") + most + ")");
    }

    [[noreturn]] void refuse(Fault kind, const std::string &why) const {
        throw StreamFault(kind, "stream '" + to_.ring->name + "': item: " + why);
    }

    nb::object array_;
    const Attached &to_;
    Py_buffer view_{};
};

// Stamps that the caller gives, one for each of n items; none where it gives none.
std::vector<marey_stamp> read_stamps(const nb::object &stamps, std::uint64_t n, const std::string &name) {
    if (stamps.is_none()) return {};
    const auto refuse = [&](const std::string &found) {
        throw StreamFault(Fault::error, "stream '" + name + "': stamps: found " + found +
                                            ", expected an array of " + std::to_string(n) +
                                            " of marey.stream.STAMP");
    };
    if (!nb::isinstance(stamps, ndarray_type())) refuse(text(stamps.type()));
    if (!stamps.attr("dtype").equal(stamp_dtype())) refuse("dtype " + text(stamps.attr("dtype")));
    Py_buffer view{};
    if (PyObject_GetBuffer(stamps.ptr(), &view, PyBUF_STRIDES) != 0) throw nb::python_error();
    std::vector<marey_stamp> given(n);
    const bool fits = view.ndim == 1 && static_cast<std::uint64_t>(view.shape[0]) >= n;
    for (std::uint64_t i = 0; fits && i < n; ++i)
        std::memcpy(&given[i],
                    static_cast<const char *>(view.buf) + static_cast<Py_ssize_t>(i) * view.strides[0],
                    sizeof(marey_stamp));
    PyBuffer_Release(&view);
    if (!fits) refuse("shape " + text(stamps.attr("shape")));
    return given;
}

marey_stamp stamp_of(const std::optional<std::uint64_t> &source_seq,
                     const std::optional<std::uint64_t> &device_frame,
                     const std::optional<std::int64_t> &device_time, std::int64_t host_time,
                     std::int64_t mono_time) {
    marey_stamp stamp{};
    stamp.source_seq = source_seq.value_or(MAREY_UNKNOWN);
    stamp.device_frame = device_frame.value_or(MAREY_UNKNOWN);
    stamp.device_time = device_time.value_or(MAREY_UNKNOWN_TIME);
    stamp.host_time = host_time;
    stamp.mono_time = mono_time;
    return stamp;
}

class PyWriter {
  public:
    PyWriter(const std::string &folder, const std::string &name, const std::string &spec,
             std::vector<std::uint64_t> shape, std::uint64_t itemsize, std::uint64_t slots, bool lossless)
        : writer_(folder, name, Layout{std::move(shape), itemsize, slots, lossless, spec}),
          at_(attached(writer_.ring(), true)), blank_(stamp_of({}, {}, {}, 0, 0)) {}

    std::uint64_t write(nb::handle array, const std::optional<std::uint64_t> &source_seq,
                        const std::optional<std::uint64_t> &device_frame,
                        const std::optional<std::int64_t> &device_time, std::int64_t host_time,
                        std::int64_t mono_time, const std::optional<double> &timeout) {
        const Geometry &g = at_.ring->geometry;
        const Given given(array, at_, false);
        std::uint32_t shape[MAREY_MAX_DIMS];
        for (std::size_t d = 0; d < g.shape.size(); ++d)
            shape[d] = static_cast<std::uint32_t>(given.extent(d));
        std::byte *slot = lend_now(1, timeout);
        const InUse in_use(*this);
        const std::uint64_t seq = writer_.head();
        if (given.contiguous()) {
            copy(slot, given.data(), given.bytes());
        } else {
            marey_slot own{};
            std::copy_n(shape, g.shape.size(), own.shape);
            const std::uint64_t index = seq % g.slots;
            assign(full_shape(own, g) ? at_.views->item(index) : at_.views->part(index, shape, g),
                   given.array());
        }
        const marey_stamp stamp = stamp_of(source_seq, device_frame, device_time, host_time, mono_time);
        writer_.publish(1, &stamp, shape);
        return seq;
    }

    std::uint64_t write_block(nb::handle array, nb::object stamps, const std::optional<double> &timeout) {
        const Geometry &g = at_.ring->geometry;
        const Given given(array, at_, true);
        const std::uint64_t total = given.extent(0), first = writer_.head(), item = g.item_bytes();
        const std::vector<marey_stamp> stamped = read_stamps(stamps, total, at_.ring->name);
        const bool packed = given.contiguous();
        // A quarter of the ring at a time, so that readers are not lapped by one call.
        const std::uint64_t most = std::max<std::uint64_t>(1, g.slots / 4);
        for (std::uint64_t done = 0; done < total;) {
            const std::uint64_t n = std::min(most, total - done);
            std::byte *slot = lend_now(n, timeout);
            const InUse in_use(*this);
            if (!packed) {
                assign(at_.views->block(writer_.head() % g.slots, n), given.items(done, n));
            } else if (g.stride == item) {
                copy(slot, given.data() + done * item, n * item);
            } else {
                for (std::uint64_t i = 0; i < n; ++i)
                    copy(slot + i * g.stride, given.data() + (done + i) * item, item);
            }
            publish_now(n, stamped.empty() ? nullptr : stamped.data() + done, nullptr);
            done += n;
        }
        return first;
    }

    nb::object lend(const std::optional<std::uint64_t> &n, const std::optional<double> &timeout) {
        if (lend_or_null(n.value_or(1), timeout) == nullptr) return nb::none();
        const std::uint64_t index = writer_.head() % at_.ring->geometry.slots;
        return n ? at_.views->block(index, *n) : at_.views->item(index);
    }

    std::uint64_t publish(std::uint64_t n, nb::object stamps,
                          const std::optional<std::vector<std::uint32_t>> &shape) {
        const Geometry &g = at_.ring->geometry;
        if (shape) {
            bool fits = shape->size() == g.shape.size();
            for (std::size_t d = 0; fits && d < shape->size(); ++d) fits = (*shape)[d] <= g.shape[d];
            if (!fits)
                throw StreamFault(Fault::too_large, "stream '" + at_.ring->name +
                                                        "': an item does not fit the stream's shape");
        }
        if (n > g.slots)
            throw StreamFault(Fault::error, "stream '" + at_.ring->name + "': publish " +
                                                std::to_string(n) + " items: its ring holds " +
                                                std::to_string(g.slots));
        const std::vector<marey_stamp> stamped = read_stamps(stamps, n, at_.ring->name);
        const InUse in_use(*this);
        const std::uint64_t first = writer_.head();
        publish_now(n, stamped.empty() ? nullptr : stamped.data(), shape ? shape->data() : nullptr);
        return first;
    }

    std::uint64_t publish_one(const std::optional<std::uint64_t> &source_seq,
                              const std::optional<std::uint64_t> &device_frame,
                              const std::optional<std::int64_t> &device_time, std::int64_t host_time,
                              std::int64_t mono_time) {
        const InUse in_use(*this);
        const marey_stamp stamp = stamp_of(source_seq, device_frame, device_time, host_time, mono_time);
        const std::uint64_t seq = writer_.head();
        writer_.publish(1, &stamp, nullptr);
        return seq;
    }

    void close(bool ended) {
        const InUse in_use(*this);
        writer_.close(ended);
    }

    Writer &core() { return writer_; }

    nb::object laggard() const {
        const auto row = writer_.laggard();
        const auto account = row ? at_.ring->account(*row) : std::nullopt;
        if (!account) return nb::none();
        return nb::steal(checked(PyUnicode_DecodeUTF8(
            account->name, static_cast<Py_ssize_t>(strnlen(account->name, MAREY_NAME)), "replace")));
    }

  private:
    // Pixels are copied without the GIL; another thread must not use the writer meanwhile.
    class InUse {
      public:
        explicit InUse(PyWriter &writer) : writer_(writer) {
            writer.check_unused();
            writer.in_use_ = true;
        }
        ~InUse() { writer_.in_use_ = false; }
        InUse(const InUse &) = delete;
        InUse &operator=(const InUse &) = delete;

      private:
        PyWriter &writer_;
    };

    void check_unused() const {
        if (in_use_)
            throw StreamFault(Fault::error,
                              "stream '" + at_.ring->name + "': another thread is writing it");
    }

    static void copy(std::byte *to, const std::byte *from, std::size_t n) {
        if (n == 0) return;
        if (n < 65536) {
            std::memcpy(to, from, n);
            return;
        }
        nb::gil_scoped_release released;
        std::memcpy(to, from, n);
    }

    static void assign(const nb::object &to, const nb::object &from) {
        if (PyObject_SetItem(to.ptr(), Py_Ellipsis, from.ptr()) != 0) throw nb::python_error();
    }

    std::byte *lend_or_null(std::uint64_t n, const std::optional<double> &timeout) {
        check_unused();
        std::byte *slot = writer_.lend(n);
        if (slot != nullptr) return slot;
        const std::int64_t until = mono_ns() + as_ns(timeout);
        for (;;) {
            const Watched space = writer_.watch();
            check_unused();
            slot = writer_.lend(n);
            if (slot != nullptr) return slot;
            const std::int64_t left = until - mono_ns();
            if (left <= 0) return nullptr;
            {
                nb::gil_scoped_release released;
                wait_on(space.word, space.expected, std::min(left, kSlice));
            }
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
        }
    }

    std::byte *lend_now(std::uint64_t n, const std::optional<double> &timeout) {
        std::byte *slot = lend_or_null(n, timeout);
        if (slot == nullptr)
            throw StreamFault(Fault::error, "stream '" + at_.ring->name +
                                                "': its readers made no room in time");
        return slot;
    }

    void publish_now(std::uint64_t n, const marey_stamp *stamps, const std::uint32_t *shape) {
        if (stamps != nullptr) return writer_.publish(n, stamps, shape);
        if (blanks_.size() < n) blanks_.resize(n, blank_);
        writer_.publish(n, blanks_.data(), shape);
    }

    Writer writer_;
    Attached at_;
    marey_stamp blank_;
    std::vector<marey_stamp> blanks_;
    bool in_use_ = false;
};

}  // namespace

void bind_writer(nb::module_ &m) {
    nb::class_<PyWriter>(m, "Writer")
        .def(nb::init<const std::string &, const std::string &, const std::string &,
                      std::vector<std::uint64_t>, std::uint64_t, std::uint64_t, bool>(),
             "folder"_a, "name"_a, "spec"_a, "shape"_a, "itemsize"_a, "slots"_a, "lossless"_a)
        .def("write", &PyWriter::write, "array"_a.none(), nb::kw_only(), "source_seq"_a = nb::none(),
             "device_frame"_a = nb::none(), "device_time"_a = nb::none(), "host_time"_a = 0,
             "mono_time"_a = 0, "timeout"_a = nb::none())
        .def("write_block", &PyWriter::write_block, "array"_a.none(), "stamps"_a = nb::none(), nb::kw_only(),
             "timeout"_a = nb::none())
        .def("lend", &PyWriter::lend, "n"_a = nb::none(), nb::kw_only(), "timeout"_a = nb::none())
        .def("publish", &PyWriter::publish, "n"_a = 1, "stamps"_a = nb::none(), nb::kw_only(),
             "shape"_a = nb::none())
        .def("publish_one", &PyWriter::publish_one, nb::kw_only(), "source_seq"_a = nb::none(),
             "device_frame"_a = nb::none(), "device_time"_a = nb::none(), "host_time"_a = 0,
             "mono_time"_a = 0)
        .def("account", [](PyWriter &w, std::uint64_t lost, std::uint64_t repeated) {
                 w.core().account(lost, repeated);
             }, "device_lost"_a, "device_repeated"_a = 0)
        .def("heartbeat", [](PyWriter &w) { w.core().heartbeat(); })
        .def("close", &PyWriter::close, nb::kw_only(), "ended"_a = true)
        .def_prop_ro("head", [](PyWriter &w) { return w.core().head(); })
        .def_prop_ro("slots", [](PyWriter &w) { return w.core().ring()->geometry.slots; })
        .def_prop_ro("most", [](PyWriter &w) { return w.core().ring()->geometry.most(); })
        .def_prop_ro("is_open", [](PyWriter &w) { return w.core().open(); })
        .def_prop_ro("laggard", &PyWriter::laggard);
}

}  // namespace marey::python
