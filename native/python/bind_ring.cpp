#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>

#include "marey/ring.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace marey;

namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max() / 4;
constexpr std::int64_t kSlice = 100'000'000;  // signals are looked at this often, ns

std::int64_t as_ns(const std::optional<double> &seconds) {
    if (!seconds || *seconds > 1e9) return kForever;
    return *seconds <= 0 ? 0 : static_cast<std::int64_t>(*seconds * 1e9);
}

const char *error_name(Fault kind) {
    switch (kind) {
    case Fault::missing: return "StreamMissing";
    case Fault::closed: return "StreamClosed";
    case Fault::damaged: return "StreamDamaged";
    case Fault::too_large: return "StreamTooLarge";
    default: return "StreamError";
    }
}

void translate(const std::exception_ptr &pointer, void *) {
    try {
        std::rethrow_exception(pointer);
    } catch (const StreamFault &fault) {
        nb::object type = nb::module_::import_("marey.errors").attr(error_name(fault.kind));
        PyErr_SetString(type.ptr(), fault.what());
    }
}

// The items of a segment as NumPy arrays; each holds the mapping, so a view outlives its reader.
struct Views {
    nb::object items;  // (2 N, *shape) of the stream's dtype, in steps of the stride
    nb::object bytes;  // (2 N, stride) u8
    nb::object dtype;

    Views(const Ring &ring, nb::object dtype_, bool writable) : dtype(std::move(dtype_)) {
        const Geometry &g = ring.geometry;
        nb::capsule owner(new std::shared_ptr<Mapping>(ring.data), [](void *p) noexcept {
            delete static_cast<std::shared_ptr<Mapping> *>(p);
        });
        const std::size_t shape[2] = {2 * g.slots, g.stride};
        void *base = ring.data->data();
        nb::object raw =
            writable
                ? nb::cast(nb::ndarray<nb::numpy, std::uint8_t>(base, 2, shape, owner))
                : nb::cast(nb::ndarray<nb::numpy, const std::uint8_t>(base, 2, shape, owner));
        bytes = raw;
        // ndarray(shape, dtype, buffer, offset, strides)
        nb::list extents, strides;
        extents.append(2 * g.slots);
        strides.append(g.stride);
        std::uint64_t step = g.item_bytes();
        for (const std::uint64_t n : g.shape) {
            step /= n;
            extents.append(n);
            strides.append(step);
        }
        items = nb::module_::import_("numpy").attr("ndarray")(
            nb::tuple(extents), dtype, nb::arg("buffer") = raw, nb::arg("strides") = nb::tuple(strides));
    }

    nb::object item(std::uint64_t slot) const { return nb::steal(checked(PySequence_GetItem(items.ptr(), ssize(slot)))); }
    nb::object block(std::uint64_t slot, std::uint64_t n) const {
        return nb::steal(checked(PySequence_GetSlice(items.ptr(), ssize(slot), ssize(slot + n))));
    }
    // An item smaller than its slot: its elements stand packed at the slot's beginning.
    nb::object part(std::uint64_t slot, const std::uint32_t *shape, const Geometry &g) const {
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
        nb::object row = nb::steal(checked(PySequence_GetItem(bytes.ptr(), ssize(slot))));
        nb::object used = nb::steal(checked(PySequence_GetSlice(row.ptr(), 0, ssize(n))));
        return used.attr("view")(dtype).attr("reshape")(nb::tuple(extents));
    }

  private:
    static Py_ssize_t ssize(std::uint64_t n) { return static_cast<Py_ssize_t>(n); }
    static PyObject *checked(PyObject *object) {
        if (object == nullptr) throw nb::python_error();
        return object;
    }
};

// A ring attached for looking, with its views.
struct Attached {
    std::shared_ptr<Ring> ring;
    std::shared_ptr<Views> views;
};

nb::object read_dtype(const std::string &spec) {
    return nb::module_::import_("marey.stream.spec").attr("Spec").attr("from_json")(spec).attr("dtype");
}

Attached attached(std::shared_ptr<Ring> ring, bool writable = false) {
    nb::object dtype = read_dtype(ring->spec);
    if (nb::cast<std::uint64_t>(dtype.attr("itemsize")) != ring->geometry.itemsize)
        throw StreamFault(Fault::damaged, "stream '" + ring->name + "': its description and header "
                                                                    "disagree about the element");
    auto views = std::make_shared<Views>(*ring, std::move(dtype), writable);
    return {std::move(ring), std::move(views)};
}

bool full_shape(const marey_slot &slot, const Geometry &g) {
    for (std::size_t d = 0; d < g.shape.size(); ++d)
        if (slot.shape[d] != g.shape[d]) return false;
    return true;
}

nb::object view_of(const Attached &at, const marey_slot &slot, std::uint64_t seq) {
    const std::uint64_t index = seq % at.ring->geometry.slots;
    return full_shape(slot, at.ring->geometry) ? at.views->item(index)
                                               : at.views->part(index, slot.shape, at.ring->geometry);
}

[[noreturn]] void overwritten(const Ring &ring, std::uint64_t seq) {
    throw StreamFault(Fault::error, "stream '" + ring.name + "': item " + std::to_string(seq) +
                                        " was overwritten while it was in use");
}

nb::object as_range(std::uint64_t from, std::uint64_t to) {
    PyObject *range = PyObject_CallFunction(reinterpret_cast<PyObject *>(&PyRange_Type), "KK", from, to);
    if (range == nullptr) throw nb::python_error();
    return nb::steal(range);
}

nb::object known(std::uint64_t value) { return value == MAREY_UNKNOWN ? nb::none() : nb::cast(value); }

nb::object stamps_array(const std::vector<marey_stamp> &stamps) {
    nb::object dtype = nb::module_::import_("marey.stream.spec").attr("STAMP");
    nb::object raw = nb::steal(PyByteArray_FromStringAndSize(
        reinterpret_cast<const char *>(stamps.data()),
        static_cast<Py_ssize_t>(stamps.size() * sizeof(marey_stamp))));
    return nb::module_::import_("numpy").attr("frombuffer")(raw, dtype);
}

struct Frame {
    Attached at;
    marey_slot slot;
    std::uint64_t lost_from = 0, lost_to = 0;

    std::uint64_t seq() const { return slot.stamp.seq; }
    bool valid() const { return at.ring->intact(seq()); }
    nb::object data() const { return view_of(at, slot, seq()); }
    nb::object copy() const {
        nb::object copied = data().attr("copy")();
        if (!valid()) overwritten(*at.ring, seq());
        return copied;
    }
};

struct Block {
    Attached at;
    Item item;

    bool valid() const { return at.ring->intact(item.seq); }
    const marey_slot &slot(std::uint64_t i) const { return i == 0 ? item.slot : item.more[i - 1]; }
    nb::object data() const {
        for (std::uint64_t i = 0; i < item.count; ++i)
            if (!full_shape(slot(i), at.ring->geometry))
                throw StreamFault(Fault::error, "stream '" + at.ring->name +
                                                    "': items of differing shape have no common "
                                                    "view; take them one by one");
        return at.views->block(item.seq % at.ring->geometry.slots, item.count);
    }
    nb::object at_index(std::int64_t i) const {
        if (i < 0) i += static_cast<std::int64_t>(item.count);
        if (i < 0 || i >= static_cast<std::int64_t>(item.count)) throw nb::index_error("block");
        const auto n = static_cast<std::uint64_t>(i);
        return view_of(at, slot(n), item.seq + n);
    }
    nb::object copy() const {
        nb::object copied = data().attr("copy")();
        if (!valid()) overwritten(*at.ring, item.seq);
        return copied;
    }
    nb::object stamps() const {
        std::vector<marey_stamp> all;
        all.reserve(item.count);
        for (std::uint64_t i = 0; i < item.count; ++i) all.push_back(slot(i).stamp);
        return stamps_array(all);
    }
};

// Sleep in slices with the GIL released; false when the time is over.
template <class Ready> bool wait_for(Ready ready, const std::vector<const Reader *> &readers,
                                     Doorbell *bell, std::int64_t timeout_ns) {
    const std::int64_t until = mono_ns() + timeout_ns;
    std::vector<Watched> words;
    words.reserve(readers.size() + 1);
    for (;;) {
        words.clear();
        if (bell != nullptr) words.push_back({&bell->word(), bell->word().load(std::memory_order_acquire)});
        for (const Reader *reader : readers) words.push_back(reader->watch());
        if (ready()) return true;
        const std::int64_t left = until - mono_ns();
        if (left <= 0) return false;
        {
            nb::gil_scoped_release released;
            wait_on_any(words.data(), words.size(), std::min(left, kSlice));
        }
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

class PyReader {
  public:
    PyReader(const std::string &folder, const std::string &name, const std::string &reader,
             const std::string &policy, const std::string &start, std::int64_t start_value, bool keep,
             std::uint64_t block)
        : at_(attached(Ring::attach(folder, name))), block_(block) {
        Start from;
        from.value = start_value;
        if (start == "oldest") from.at = Start::At::oldest;
        else if (start == "back") from.at = Start::At::back;
        else if (start == "seq") from.at = Start::At::seq;
        reader_ = std::make_unique<Reader>(
            at_.ring, reader, policy == "latest" ? Policy::latest : Policy::every, from, keep);
        if (block_ > at_.ring->geometry.slots)
            throw StreamFault(Fault::error, "stream '" + name + "': a block of " +
                                                std::to_string(block_) + ": its ring holds " +
                                                std::to_string(at_.ring->geometry.slots));
    }

    nb::object read(std::int64_t timeout_ns) {
        Item item;
        const std::uint64_t n = std::max<std::uint64_t>(1, block_);
        const std::int64_t until = timeout_ns == 0 ? 0 : mono_ns() + timeout_ns;
        for (;;) {
            switch (reader_->take(n, item)) {
            case Reader::Outcome::item:
                if (block_ == 0)
                    return nb::cast(Frame{at_, item.slot, item.lost_from, item.lost_to});
                return nb::cast(Block{at_, std::move(item)});
            case Reader::Outcome::closed:
                throw StreamFault(Fault::closed, "stream '" + at_.ring->name + "': it has ended");
            case Reader::Outcome::replaced: follow(); continue;
            case Reader::Outcome::nothing: break;
            }
            const std::int64_t left = timeout_ns == 0 ? 0 : until - mono_ns();
            if (left <= 0) return nb::none();
            wait_for([&] { return reader_->ready(n); }, {reader_.get()}, nullptr, left);
        }
    }

    nb::object next() {
        try {
            return read(kForever);
        } catch (const StreamFault &fault) {
            if (fault.kind == Fault::closed) throw nb::stop_iteration();
            throw;
        }
    }

    void close() { reader_->leave(); }
    bool release() { return reader_->release(); }
    bool ready() const { return reader_->ready(std::max<std::uint64_t>(1, block_)); }
    const Reader &core() const { return *reader_; }
    const Attached &at() const { return at_; }

  private:
    void follow() {
        std::shared_ptr<Ring> ring;
        try {
            ring = Ring::attach(at_.ring->folder, at_.ring->name);
        } catch (const StreamFault &fault) {
            if (fault.kind != Fault::missing) throw;
            throw StreamFault(Fault::closed, "stream '" + at_.ring->name + "': it has ended");
        }
        Attached at = attached(ring);
        reader_->follow(ring);
        at_ = std::move(at);
    }

    Attached at_;
    std::unique_ptr<Reader> reader_;
    std::uint64_t block_;
};

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
        Source source(array, *this);
        std::uint32_t shape[MAREY_MAX_DIMS];
        if (static_cast<std::size_t>(source.view.ndim) != g.shape.size()) source.refuse("dimensions");
        std::uint64_t elements = 1;
        for (std::size_t d = 0; d < g.shape.size(); ++d) {
            const auto n = static_cast<std::uint64_t>(source.view.shape[d]);
            if (n > g.shape[d]) source.refuse("shape");
            shape[d] = static_cast<std::uint32_t>(n);
            elements *= n;
        }
        std::byte *slot = lend_now(1, timeout);
        copy(slot, source.view.buf, elements * g.itemsize);
        const marey_stamp stamp = stamp_of(source_seq, device_frame, device_time, host_time, mono_time);
        const std::uint64_t seq = writer_.head();
        writer_.publish(1, &stamp, shape);
        return seq;
    }

    std::uint64_t write_block(nb::handle array, nb::object stamps, const std::optional<double> &timeout) {
        const Geometry &g = at_.ring->geometry;
        Source source(array, *this);
        if (static_cast<std::size_t>(source.view.ndim) != g.shape.size() + 1) source.refuse("dimensions");
        for (std::size_t d = 0; d < g.shape.size(); ++d)
            if (static_cast<std::uint64_t>(source.view.shape[d + 1]) != g.shape[d]) source.refuse("shape");
        const auto total = static_cast<std::uint64_t>(source.view.shape[0]);
        std::vector<marey_stamp> given = read_stamps(stamps, total);
        const std::uint64_t first = writer_.head(), item = g.item_bytes();
        const auto *from = static_cast<const std::byte *>(source.view.buf);
        // A quarter of the ring at a time, so that readers are not lapped by one call.
        const std::uint64_t most = std::max<std::uint64_t>(1, g.slots / 4);
        for (std::uint64_t done = 0; done < total;) {
            const std::uint64_t n = std::min(most, total - done);
            std::byte *slot = lend_now(n, timeout);
            if (g.stride == item) {
                copy(slot, from + done * item, n * item);
            } else {
                for (std::uint64_t i = 0; i < n; ++i)
                    copy(slot + i * g.stride, from + (done + i) * item, item);
            }
            publish_now(n, given, done);
            done += n;
        }
        return first;
    }

    nb::object lend(const std::optional<std::uint64_t> &n, const std::optional<double> &timeout) {
        std::byte *slot = lend_or_null(n.value_or(1), timeout);
        if (slot == nullptr) return nb::none();
        const std::uint64_t index = writer_.head() % at_.ring->geometry.slots;
        return n ? at_.views->block(index, *n) : at_.views->item(index);
    }

    std::uint64_t publish(std::uint64_t n, nb::object stamps,
                          const std::optional<std::vector<std::uint32_t>> &shape) {
        const std::uint64_t first = writer_.head();
        const Geometry &g = at_.ring->geometry;
        if (shape) {
            bool fits = shape->size() == g.shape.size();
            for (std::size_t d = 0; fits && d < shape->size(); ++d) fits = (*shape)[d] <= g.shape[d];
            if (!fits)
                throw StreamFault(Fault::error, "stream '" + at_.ring->name +
                                                    "': an item does not fit the stream's shape");
        }
        std::vector<marey_stamp> given = read_stamps(stamps, n);
        if (given.empty()) given.assign(n, blank_);
        writer_.publish(n, given.data(), shape ? shape->data() : nullptr);
        return first;
    }

    std::uint64_t publish_one(const std::optional<std::uint64_t> &source_seq,
                              const std::optional<std::uint64_t> &device_frame,
                              const std::optional<std::int64_t> &device_time, std::int64_t host_time,
                              std::int64_t mono_time) {
        const marey_stamp stamp = stamp_of(source_seq, device_frame, device_time, host_time, mono_time);
        const std::uint64_t seq = writer_.head();
        writer_.publish(1, &stamp, nullptr);
        return seq;
    }

    Writer &core() { return writer_; }

  private:
    // The caller's array as plain memory of the stream's dtype.
    struct Source {
        Source(nb::handle array, const PyWriter &to) : writer(to) {
            nb::object dtype = nb::getattr(array, "dtype", nb::none());
            if (!dtype.is(to.at_.views->dtype) && !dtype.equal(to.at_.views->dtype)) {
                throw StreamFault(Fault::error,
                                  "stream '" + to.at_.ring->name + "': dtype of an item: found " +
                                      nb::cast<std::string>(nb::str(dtype)) + ", expected " +
                                      nb::cast<std::string>(nb::str(to.at_.views->dtype)));
            }
            held = nb::borrow(array);
            if (PyObject_GetBuffer(held.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) {
                PyErr_Clear();
                held = nb::module_::import_("numpy").attr("ascontiguousarray")(array);
                if (PyObject_GetBuffer(held.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
            }
        }
        ~Source() { PyBuffer_Release(&view); }
        Source(const Source &) = delete;
        Source &operator=(const Source &) = delete;
        [[noreturn]] void refuse(const char *what) const {
            throw StreamFault(Fault::error,
                              "stream '" + writer.at_.ring->name + "': " + what + " of an item: found " +
                                  nb::cast<std::string>(nb::str(held.attr("shape"))) +
                                  ", expected at most " +
                                  nb::cast<std::string>(nb::str(
                                      nb::object(writer.at_.views->items.attr("shape"))[nb::slice(
                                          nb::int_(1), nb::none(), nb::none())])));
        }
        const PyWriter &writer;
        nb::object held;
        Py_buffer view{};
    };

    static void copy(std::byte *to, const void *from, std::uint64_t n) {
        if (n < 65536) {
            std::memcpy(to, from, n);
            return;
        }
        nb::gil_scoped_release released;
        std::memcpy(to, from, n);
    }

    std::byte *lend_or_null(std::uint64_t n, const std::optional<double> &timeout) {
        if (!at_.ring->geometry.lossless) return writer_.lend(n, 0);
        const std::int64_t until = mono_ns() + as_ns(timeout);
        for (;;) {
            std::byte *slot = nullptr;
            const std::int64_t left = std::clamp<std::int64_t>(until - mono_ns(), 0, kSlice);
            {
                nb::gil_scoped_release released;
                slot = writer_.lend(n, left);
            }
            if (slot != nullptr) return slot;
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
            if (mono_ns() >= until) return nullptr;
        }
    }

    std::byte *lend_now(std::uint64_t n, const std::optional<double> &timeout) {
        std::byte *slot = lend_or_null(n, timeout);
        if (slot == nullptr)
            throw StreamFault(Fault::error, "stream '" + at_.ring->name +
                                                "': its readers made no room in time");
        return slot;
    }

    std::vector<marey_stamp> read_stamps(const nb::object &stamps, std::uint64_t n) const {
        if (stamps.is_none()) return {};
        nb::object plain = nb::module_::import_("numpy").attr("ascontiguousarray")(
            stamps, nb::arg("dtype") = nb::module_::import_("marey.stream.spec").attr("STAMP"));
        if (nb::len(plain) < n)
            throw StreamFault(Fault::error, "stream '" + at_.ring->name + "': stamps: found " +
                                                std::to_string(nb::len(plain)) + ", expected " +
                                                std::to_string(n));
        Py_buffer view{};
        if (PyObject_GetBuffer(plain.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
        std::vector<marey_stamp> given(n);
        std::memcpy(given.data(), view.buf, n * sizeof(marey_stamp));
        PyBuffer_Release(&view);
        return given;
    }

    void publish_now(std::uint64_t n, const std::vector<marey_stamp> &given, std::uint64_t done) {
        if (!given.empty()) return writer_.publish(n, given.data() + done, nullptr);
        const std::vector<marey_stamp> blanks(n, blank_);
        writer_.publish(n, blanks.data(), nullptr);
    }

    Writer writer_;
    Attached at_;
    marey_stamp blank_;
};

nb::list accounts(const Ring &ring) {
    nb::list rows;
    for (std::size_t r = 0; r < MAREY_READERS; ++r) {
        const marey_reader row = ring.reader(r);
        if (row.policy == 0) continue;
        nb::list latency;
        for (const std::uint32_t count : row.latency) latency.append(count);
        nb::dict d;
        d["row"] = r;
        d["name"] = nb::str(row.name, strnlen(row.name, sizeof row.name));
        d["policy"] = row.policy == MAREY_LATEST ? "latest" : "every";
        d["pid"] = row.owner >> 32;
        d["alive"] = row.owner != 0 && alive(row.owner);
        d["keep"] = row.keep != 0;
        d["start"] = row.start;
        d["cursor"] = row.cursor;
        d["received"] = row.received;
        d["torn"] = row.torn;
        d["skipped"] = row.skipped;
        d["heartbeat"] = row.heartbeat;
        d["latency"] = latency;
        rows.append(d);
    }
    return rows;
}

nb::dict facts(const Ring &ring) {
    const marey_control control = ring.control();
    nb::list epochs;
    const std::uint64_t first = control.epoch > MAREY_EPOCHS ? control.epoch - MAREY_EPOCHS + 1 : 1;
    for (std::uint64_t e = first; e <= control.epoch; ++e) {
        const marey_epoch &entry = control.epochs[e % MAREY_EPOCHS];
        nb::dict d;
        d["epoch"] = entry.epoch;
        d["first_seq"] = entry.first_seq;
        d["host_time"] = entry.host_time;
        epochs.append(d);
    }
    nb::dict d;
    d["head"] = control.head;
    d["oldest"] = ring.oldest();
    d["slots"] = ring.geometry.slots;
    d["stride"] = ring.geometry.stride;
    d["lossless"] = ring.geometry.lossless;
    d["epoch"] = control.epoch;
    d["epochs"] = epochs;
    d["state"] = control.state;
    d["pid"] = control.owner >> 32;
    d["alive"] = control.owner != 0 && alive(control.owner);
    d["heartbeat"] = control.heartbeat;
    d["device_lost"] = control.device_lost;
    d["device_repeated"] = control.device_repeated;
    return d;
}

// Look at any item that the ring holds, without an account.
nb::object look(const Attached &at, std::uint64_t seq) {
    const auto slot = at.ring->look(seq);
    return slot ? nb::cast(Frame{at, *slot, 0, 0}) : nb::none();
}

nb::object find_source(const Attached &at, std::uint64_t source_seq) {
    std::uint64_t lo = at.ring->oldest(), hi = at.ring->head();
    while (lo < hi) {
        const std::uint64_t middle = lo + (hi - lo) / 2;
        const auto slot = at.ring->look(middle);
        if (!slot || slot->stamp.source_seq <= source_seq) lo = middle + 1;
        else hi = middle;
    }
    return lo == 0 ? nb::none() : look(at, lo - 1);
}

nb::object last_stamps(const Attached &at, std::uint64_t n) {
    const std::uint64_t head = at.ring->head();
    std::vector<marey_stamp> stamps;
    for (std::uint64_t seq = std::max(at.ring->oldest(), head > n ? head - n : 0); seq < head; ++seq)
        if (const auto slot = at.ring->look(seq)) stamps.push_back(slot->stamp);
    return stamps_array(stamps);
}

}  // namespace

void bind_ring(nb::module_ &m) {
    nb::register_exception_translator(translate, nullptr);

    nb::class_<Frame>(m, "Frame")
        .def_prop_ro("data", &Frame::data)
        .def_prop_ro("seq", &Frame::seq)
        .def_prop_ro("source_seq", [](const Frame &f) { return known(f.slot.stamp.source_seq); })
        .def_prop_ro("device_frame", [](const Frame &f) { return known(f.slot.stamp.device_frame); })
        .def_prop_ro("device_time",
                     [](const Frame &f) {
                         return f.slot.stamp.device_time == MAREY_UNKNOWN_TIME
                                    ? nb::none()
                                    : nb::cast(f.slot.stamp.device_time);
                     })
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

    nb::class_<Block>(m, "Block")
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

    nb::class_<PyReader>(m, "Reader")
        .def(nb::init<const std::string &, const std::string &, const std::string &,
                      const std::string &, const std::string &, std::int64_t, bool, std::uint64_t>(),
             "folder"_a, "stream"_a, "name"_a, "policy"_a, "start"_a, "start_value"_a, "keep"_a,
             "block"_a)
        .def("read",
             [](PyReader &r, const std::optional<double> &timeout) { return r.read(as_ns(timeout)); },
             "timeout"_a = nb::none())
        .def("release", &PyReader::release)
        .def("close", &PyReader::close)
        .def_prop_ro("ready", &PyReader::ready)
        .def_prop_ro("cursor", [](const PyReader &r) { return r.core().cursor(); })
        .def_prop_ro("row", [](const PyReader &r) { return r.core().row(); })
        .def_prop_ro("spec_json", [](const PyReader &r) { return r.at().ring->spec; })
        .def_prop_ro("stream", [](const PyReader &r) { return r.at().ring->name; })
        .def("__iter__", [](nb::handle self) { return nb::borrow(self); })
        .def("__next__", &PyReader::next)
        .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
        .def("__exit__", [](PyReader &r, nb::args) { r.close(); });

    nb::class_<PyWriter>(m, "Writer")
        .def(nb::init<const std::string &, const std::string &, const std::string &,
                      std::vector<std::uint64_t>, std::uint64_t, std::uint64_t, bool>(),
             "folder"_a, "name"_a, "spec"_a, "shape"_a, "itemsize"_a, "slots"_a, "lossless"_a)
        .def("write", &PyWriter::write, "array"_a, nb::kw_only(), "source_seq"_a = nb::none(),
             "device_frame"_a = nb::none(), "device_time"_a = nb::none(), "host_time"_a = 0,
             "mono_time"_a = 0, "timeout"_a = nb::none())
        .def("write_block", &PyWriter::write_block, "array"_a, "stamps"_a = nb::none(), nb::kw_only(),
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
        .def("close", [](PyWriter &w) { w.core().close(); })
        .def_prop_ro("head", [](PyWriter &w) { return w.core().head(); })
        .def_prop_ro("slots", [](PyWriter &w) { return w.core().ring()->geometry.slots; })
        .def_prop_ro("is_open", [](PyWriter &w) { return w.core().open(); })
        .def_prop_ro("laggard", [](PyWriter &w) -> nb::object {
            const auto row = w.core().laggard();
            if (!row) return nb::none();
            const marey_reader &account = w.core().ring()->reader(*row);
            return nb::str(account.name, strnlen(account.name, sizeof account.name));
        });

    nb::class_<Attached>(m, "Ring")
        .def("__init__",
             [](Attached *at, const std::string &folder, const std::string &name) {
                 new (at) Attached(attached(Ring::attach(folder, name)));
             },
             "folder"_a, "name"_a)
        .def_prop_ro("name", [](const Attached &at) { return at.ring->name; })
        .def_prop_ro("spec_json", [](const Attached &at) { return at.ring->spec; })
        .def_prop_ro("head", [](const Attached &at) { return at.ring->head(); })
        .def_prop_ro("oldest", [](const Attached &at) { return at.ring->oldest(); })
        .def_prop_ro("state", [](const Attached &at) { return at.ring->state(); })
        .def("look", &look, "seq"_a)
        .def("find_source", &find_source, "source_seq"_a)
        .def("stamps", &last_stamps, "n"_a)
        .def("facts", [](const Attached &at) { return facts(*at.ring); })
        .def("accounts", [](const Attached &at) { return accounts(*at.ring); });

    nb::class_<Doorbell>(m, "Doorbell").def(nb::init<>()).def("ring", &Doorbell::ring);

    m.def(
        "wait_any",
        [](const std::vector<PyReader *> &readers, Doorbell *bell, std::uint32_t rung, double timeout) {
            std::vector<const Reader *> cores;
            for (const PyReader *reader : readers) cores.push_back(&reader->core());
            const auto ready = [&] {
                return (bell != nullptr && bell->word().load(std::memory_order_acquire) != rung) ||
                       std::any_of(readers.begin(), readers.end(),
                                   [](const PyReader *reader) { return reader->ready(); });
            };
            return wait_for(ready, cores, bell, as_ns(timeout));
        },
        "readers"_a, "bell"_a.none(), "rung"_a, "timeout"_a);
    m.def("rung", [](Doorbell &bell) { return bell.word().load(std::memory_order_acquire); }, "bell"_a);
    m.def("end_stream", &end_stream, "folder"_a, "name"_a);
    m.def("self_owner", &self);
    m.def("is_alive", &alive, "owner"_a);
    m.def(
        "sleep_until",
        [](std::int64_t mono) {
            while (mono_ns() < mono) {
                {
                    nb::gil_scoped_release released;
                    sleep_until(std::min(mono, mono_ns() + kSlice));
                }
                if (PyErr_CheckSignals() != 0) throw nb::python_error();
            }
        },
        "mono"_a);
}
