#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>

#include "stream.hpp"

namespace marey::python {

using namespace nb::literals;

namespace {

Start start_of(const std::string &word, std::int64_t value) {
    if (word == "now") return {Start::At::now, 0};
    if (word == "oldest") return {Start::At::oldest, 0};
    if (word == "back" && value >= 0) return {Start::At::back, value};
    throw StreamFault(Fault::error,
                      "start: found '" + word + "', expected 'now', 'oldest' or seconds to go back");
}

class PyReader {
  public:
    PyReader(const std::string &folder, const std::string &name, const std::string &reader,
             const std::string &policy, const std::string &start, std::int64_t start_value, bool keep,
             std::uint64_t block)
        : at_(attached(Ring::attach(folder, name))), block_(block) {
        if (policy != "every" && policy != "latest")
            throw StreamFault(Fault::error,
                              "policy: found '" + policy + "', expected 'every' or 'latest'");
        const Start from = start_of(start, start_value);
        const Geometry &g = at_.ring->geometry;
        if (block_ > g.most())
            throw StreamFault(Fault::error, "stream '" + name + "': a block of " +
                                                std::to_string(block_) + ": expected 1 to " +
                                                std::to_string(g.most()) + " in its ring of " +
                                                std::to_string(g.slots));
        reader_ = std::make_unique<Reader>(
            at_.ring, reader, policy == "latest" ? Policy::latest : Policy::every, from, keep);
    }

    nb::object read(std::int64_t timeout_ns) {
        Item item;
        const std::int64_t until = timeout_ns == 0 ? 0 : mono_ns() + timeout_ns;
        for (;;) {
            switch (reader_->take(step(), item)) {
            case Reader::Outcome::item:
                if (block_ == 0)
                    return nb::cast(Frame{at_, item.slot, item.lost_from, item.lost_to});
                return nb::cast(Block{at_, std::move(item)});
            case Reader::Outcome::closed:
                throw StreamFault(Fault::closed, "stream '" + at_.ring->name + "': it has ended" +
                                                     last_words(item));
            case Reader::Outcome::replaced: follow(); continue;
            case Reader::Outcome::nothing: break;
            }
            const std::int64_t left = timeout_ns == 0 ? 0 : until - mono_ns();
            if (left <= 0) return nb::none();
            wait_for([&] { return ready(); }, {reader_.get()}, nullptr, left);
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
    bool release(std::optional<bool> intact) { return reader_->release(intact); }
    bool ready() const { return reader_->ready(step()); }
    void settle_before(std::uint64_t seq) { reader_->settle_before(seq); }
    std::uint64_t purge() { return reader_->purge(); }
    const Reader &core() const { return *reader_; }
    const Attached &at() const { return at_; }

  private:
    // A ring that replaced another may be too short for our blocks.
    std::uint64_t step() const {
        return std::clamp<std::uint64_t>(block_, 1, at_.ring->geometry.most());
    }

    static std::string last_words(const Item &item) {
        if (item.lost_from == item.lost_to) return "";
        return "; items " + std::to_string(item.lost_from) + " to " +
               std::to_string(item.lost_to - 1) + " were lost at its end";
    }

    void follow() {
        std::shared_ptr<Ring> ring;
        try {
            ring = Ring::attach(at_.ring->folder, at_.ring->name);
        } catch (const StreamFault &fault) {
            if (fault.kind != Fault::missing) throw;
            throw StreamFault(Fault::closed, "stream '" + at_.ring->name + "': it was removed");
        }
        Attached at = attached(std::move(ring));
        reader_->follow(at.ring);
        at_ = std::move(at);
    }

    Attached at_;
    std::unique_ptr<Reader> reader_;
    std::uint64_t block_;
};

bool wait_any(const nb::sequence &given, Doorbell *bell, std::uint32_t rung, double timeout) {
    // The list may change while we sleep; the tuple keeps its readers alive.
    const nb::tuple held(given);
    std::vector<const PyReader *> readers;
    std::vector<const Reader *> cores;
    for (nb::handle reader : held) {
        readers.push_back(nb::cast<const PyReader *>(reader));
        cores.push_back(&readers.back()->core());
    }
    const auto ready = [&] {
        return (bell != nullptr && bell->word().load(std::memory_order_acquire) != rung) ||
               std::any_of(readers.begin(), readers.end(),
                           [](const PyReader *reader) { return reader->ready(); });
    };
    return wait_for(ready, cores, bell, as_ns(timeout));
}

}  // namespace

void bind_reader(nb::module_ &m) {
    nb::class_<PyReader>(m, "Reader", "A reader of a stream with an account of what it received and lost.")
        .def(nb::init<const std::string &, const std::string &, const std::string &,
                      const std::string &, const std::string &, std::int64_t, bool, std::uint64_t>(),
             "folder"_a, "stream"_a, "name"_a, "policy"_a, "start"_a, "start_value"_a, "keep"_a,
             "block"_a)
        .def("read",
             [](PyReader &r, const std::optional<double> &timeout) { return r.read(as_ns(timeout)); },
             "timeout"_a = nb::none())
        .def("release", &PyReader::release, "intact"_a = nb::none())
        .def("settle_before", &PyReader::settle_before, "seq"_a)
        .def("purge", &PyReader::purge)
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

    nb::class_<Doorbell>(m, "Doorbell").def(nb::init<>()).def("ring", &Doorbell::ring);
    m.def("wait_any", &wait_any, "readers"_a, "bell"_a.none(), "rung"_a, "timeout"_a);
    m.def(
        "rung", [](Doorbell &bell) { return bell.word().load(std::memory_order_acquire); }, "bell"_a);
}

}  // namespace marey::python
