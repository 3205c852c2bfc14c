#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <exception>

#include "stream.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace marey::python {

namespace {

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

std::uint64_t load(std::uint64_t &field) {
    return std::atomic_ref<std::uint64_t>(field).load(std::memory_order_acquire);
}

nb::object name_of(const marey_reader &row) {
    // Cut to the row's width it may end within a character.
    const auto length = static_cast<Py_ssize_t>(strnlen(row.name, sizeof row.name));
    return nb::steal(checked(PyUnicode_DecodeUTF8(row.name, length, "replace")));
}

nb::list accounts(const Ring &ring) {
    nb::list rows;
    for (std::size_t r = 0; r < MAREY_READERS; ++r) {
        const auto row = ring.account(r);
        if (!row) continue;
        nb::list latency;
        for (const std::uint32_t count : row->latency) latency.append(count);
        const marey_losses &losses = row->losses;
        const std::uint64_t settled = row->cursor - row->start;
        const std::uint64_t passed = losses.lost + losses.torn + losses.skipped;
        nb::dict d;
        d["row"] = r;
        d["name"] = name_of(*row);
        d["policy"] = row->policy == MAREY_LATEST ? "latest" : "every";
        d["pid"] = row->owner >> 32;
        d["alive"] = row->owner != 0 && alive(row->owner);
        d["keep"] = row->keep != 0;
        d["start"] = row->start;
        d["cursor"] = row->cursor;
        d["received"] = settled > passed ? settled - passed : 0;
        d["lost"] = losses.lost;
        d["torn"] = losses.torn;
        d["skipped"] = losses.skipped;
        d["heartbeat"] = row->heartbeat;
        d["latency"] = latency;
        rows.append(d);
    }
    return rows;
}

nb::dict facts(const Ring &ring) {
    marey_control &control = ring.control();
    const std::uint64_t epoch = load(control.epoch), owner = load(control.owner);
    nb::list epochs;
    const std::uint64_t count = std::min<std::uint64_t>(epoch, MAREY_EPOCHS);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t number = epoch - count + 1 + i;
        marey_epoch &entry = control.epochs[number % MAREY_EPOCHS];
        if (load(entry.epoch) != number) continue;  // the next writer is taking its place
        nb::dict d;
        d["epoch"] = number;
        d["first_seq"] = load(entry.first_seq);
        d["host_time"] = std::atomic_ref(entry.host_time).load();
        epochs.append(d);
    }
    nb::dict d;
    d["head"] = ring.head();
    d["oldest"] = ring.oldest();
    d["slots"] = ring.geometry.slots;
    d["stride"] = ring.geometry.stride;
    d["lossless"] = ring.geometry.lossless;
    d["epoch"] = epoch;
    d["epochs"] = epochs;
    d["state"] = ring.state();
    d["pid"] = owner >> 32;
    d["alive"] = owner != 0 && alive(owner);
    d["heartbeat"] = std::atomic_ref(control.heartbeat).load();
    d["device_lost"] = load(control.device_lost);
    d["device_repeated"] = load(control.device_repeated);
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
    n = std::min(n, std::min(at.ring->geometry.slots, head));
    std::vector<marey_stamp> stamps;
    for (std::uint64_t seq = std::max(at.ring->oldest(), head - n); seq < head; ++seq)
        if (const auto slot = at.ring->look(seq)) stamps.push_back(slot->stamp);
    return stamps_array(stamps);
}

void sleep_until_mono(std::int64_t mono) {
    while (mono_ns() < mono) {
        {
            nb::gil_scoped_release released;
            sleep_until(std::min(mono, mono_ns() + kSlice));
        }
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

}  // namespace

}  // namespace marey::python

void bind_ring(nb::module_ &m) {
    using namespace marey;
    using namespace marey::python;
    nb::register_exception_translator(translate, nullptr);
    bind_frames(m);
    bind_reader(m);
    bind_writer(m);

    nb::class_<Attached>(m, "Ring")
        .def("__init__",
             [](Attached *at, const std::string &folder, const std::string &name) {
                 new (at) Attached(attached(Ring::attach(folder, name, Access::look)));
             },
             "folder"_a, "name"_a)
        .def_prop_ro("name", [](const Attached &at) { return at.ring->name; })
        .def_prop_ro("spec_json", [](const Attached &at) { return at.ring->spec; })
        .def_prop_ro("head", [](const Attached &at) { return at.ring->head(); })
        .def_prop_ro("oldest", [](const Attached &at) { return at.ring->oldest(); })
        .def_prop_ro("state", [](const Attached &at) { return at.ring->state(); })
        .def_prop_ro("superseded", [](const Attached &at) { return at.ring->superseded(); })
        .def("look", &look, "seq"_a)
        .def("find_source", &find_source, "source_seq"_a)
        .def("stamps", &last_stamps, "n"_a)
        .def("facts", [](const Attached &at) { return facts(*at.ring); })
        .def("accounts", [](const Attached &at) { return accounts(*at.ring); });

    m.def("end_stream", &end_stream, "folder"_a, "name"_a);
    m.def("self_owner", &self);
    m.def("is_alive", &alive, "owner"_a);
    m.def("sleep_until", &sleep_until_mono, "mono"_a);
}
