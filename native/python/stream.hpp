// What the bindings of streams share: segments as NumPy arrays, frames, waiting.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "marey/reader.hpp"
#include "marey/ring.hpp"

namespace marey::python {

namespace nb = nanobind;

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max() / 4;
constexpr std::int64_t kSlice = 100'000'000;  // signals are looked at this often, ns

// Seconds, or None for ever, as ns.
std::int64_t as_ns(const std::optional<double> &seconds);

// What is imported once and kept for good: nothing of ours, so that nothing of ours is kept.
const nb::object &ndarray_type();
const nb::object &stamp_dtype();

inline PyObject *checked(PyObject *object) {
    if (object == nullptr) throw nb::python_error();
    return object;
}

// The items of a segment as NumPy arrays; each holds the mapping, so a view outlives its reader.
class Views {
  public:
    Views(const Ring &ring, nb::object dtype, bool writable);

    const nb::object &dtype() const { return dtype_; }
    nb::object item(std::uint64_t slot) const {
        return nb::steal(checked(PySequence_GetItem(items_.ptr(), ssize(slot))));
    }
    nb::object block(std::uint64_t slot, std::uint64_t n) const {
        return nb::steal(checked(PySequence_GetSlice(items_.ptr(), ssize(slot), ssize(slot + n))));
    }
    // An item smaller than its slot: its elements stand packed at the slot's beginning.
    nb::object part(std::uint64_t slot, const std::uint32_t *shape, const Geometry &geometry) const;

  private:
    static Py_ssize_t ssize(std::uint64_t n) { return static_cast<Py_ssize_t>(n); }

    nb::object items_;  // (2 N, *shape) of the stream's dtype, in steps of the stride
    nb::object bytes_;  // (2 N, stride) u8
    nb::object dtype_;
};

// A ring attached for looking, with its views.
struct Attached {
    std::shared_ptr<Ring> ring;
    std::shared_ptr<Views> views;
};

Attached attached(std::shared_ptr<Ring> ring, bool writable = false);

bool full_shape(const marey_slot &slot, const Geometry &geometry);

struct Frame {
    Attached at;
    marey_slot slot;
    std::uint64_t lost_from = 0, lost_to = 0;

    std::uint64_t seq() const { return slot.stamp.seq; }
    bool valid() const { return at.ring->intact(seq()); }
    nb::object data() const;
    nb::object copy() const;
};

struct Block {
    Attached at;
    Item item;

    bool valid() const { return at.ring->intact(item.seq); }
    const marey_slot &slot(std::uint64_t i) const { return i == 0 ? item.slot : item.more[i - 1]; }
    nb::object data() const;
    nb::object at_index(std::int64_t i) const;
    nb::object copy() const;
    nb::object stamps() const;
};

nb::object stamps_array(const std::vector<marey_stamp> &stamps);

// Sleep in slices with the GIL released until ready() holds; false when the time is over.
bool wait_for(const std::function<bool()> &ready, const std::vector<const Reader *> &readers,
              Doorbell *bell, std::int64_t timeout_ns);

void bind_frames(nb::module_ &m);
void bind_reader(nb::module_ &m);
void bind_writer(nb::module_ &m);

}  // namespace marey::python
