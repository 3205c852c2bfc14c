// The order of stores, and why it is enough (docs/reference/ring-layout.md tells it at length).
//
// Writer, item n:   begin = n+1; release fence; pixels and slot; head = n+1 (release).
// Reader, item f:   head (acquire) > f; pixels and slot; acquire fence; begin <= f + N: intact.
//
// If a reader saw any byte of item f+N, the writer's fence came before that byte and the reader's
// fence after it, so the reader's load of `begin` sees at least f+N+1 and the item is refused. This
// is a seqlock: the pixels are formally a data race, the usual practice, and sound while both
// fences stand. It holds on ARM too, since both sides fence and neither relies on x86's order.
#include "marey/ring.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace marey {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::int64_t kBound = 100'000'000;       // a lost wake-up costs at most this, ns
constexpr std::int64_t kGrace = 5'000'000'000;     // a dead node's reader is waited for, ns

template <class T> std::atomic_ref<T> shared(T &field) { return std::atomic_ref<T>(field); }

template <class T> T acquire(T &field) { return shared(field).load(std::memory_order_acquire); }
template <class T> T relaxed(T &field) { return shared(field).load(std::memory_order_relaxed); }
template <class T> void set_relaxed(T &field, T value) {
    shared(field).store(value, std::memory_order_relaxed);
}
template <class T> void set_release(T &field, T value) {
    shared(field).store(value, std::memory_order_release);
}

std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

std::uint64_t fnv1a(const void *bytes, std::size_t n, std::uint64_t hash = 14695981039346656037ull) {
    const auto *p = static_cast<const unsigned char *>(bytes);
    for (std::size_t i = 0; i < n; ++i) hash = (hash ^ p[i]) * 1099511628211ull;
    return hash;
}

std::uint64_t checksum(const marey_header &header, const std::string &spec) {
    return fnv1a(spec.data(), spec.size(), fnv1a(&header, offsetof(marey_header, checksum)));
}

std::string control_path(const std::string &folder, const std::string &name) {
    return folder + "/" + name + ".ring";
}

std::string data_path(const std::string &folder, const std::string &name, std::uint64_t generation) {
    return folder + "/" + name + "." + std::to_string(generation) + ".data";
}

[[noreturn]] void damaged(const std::string &name, const std::string &why) {
    throw StreamFault(Fault::damaged, "stream '" + name + "': " + why);
}

Mapping open_file(const std::string &path, std::size_t bytes, bool twice, bool writable,
                  const std::string &name) {
    try {
        return Mapping::open(path, bytes, twice, writable);
    } catch (const std::system_error &error) {
        const int code = error.code().value();
        if (code == ENOENT)
            throw StreamFault(Fault::missing, "stream '" + name + "': there is none of that name");
        if (code == EINVAL) damaged(name, "its file is shorter than its header says");
        if (code == EACCES || code == ELOOP)
            throw StreamFault(Fault::error, "stream '" + name + "': its file belongs to another user");
        throw StreamFault(Fault::error, "stream '" + name + "': " + error.what());
    }
}

Mapping create_file(const std::string &path, std::size_t bytes, bool twice, const std::string &name) {
    try {
        return Mapping::create(path, bytes, twice);
    } catch (const std::system_error &error) {
        const int code = error.code().value();
        if (code == ENOSPC || code == ENOMEM || code == EFBIG)
            throw StreamFault(Fault::too_large, "stream '" + name + "': no room for " +
                                                    std::to_string(bytes) +
                                                    " bytes of shared memory");
        throw StreamFault(Fault::error, "stream '" + name + "': " + error.what());
    }
}

// Geometry of a header that may hold anything, or a fault that says what is wrong.
Geometry checked(const marey_header &h, const std::string &name) {
    if (std::memcmp(h.magic, MAREY_MAGIC, sizeof h.magic) != 0) damaged(name, "not a marey stream");
    if (h.layout != MAREY_LAYOUT)
        damaged(name, "layout version: found " + std::to_string(h.layout) + ", expected " +
                          std::to_string(MAREY_LAYOUT));
    Geometry g;
    g.generation = h.generation;
    g.slots = h.slots;
    g.stride = h.stride;
    g.itemsize = h.itemsize;
    g.lossless = (h.flags & MAREY_LOSSLESS) != 0;
    constexpr std::uint64_t limit = std::uint64_t{1} << 46;
    if (h.slots == 0 || h.slots > limit || h.stride == 0 || h.stride % 64 != 0 || h.stride > limit ||
        h.slots > limit / h.stride || h.data_bytes != h.slots * h.stride || h.itemsize == 0 ||
        h.itemsize > h.stride || h.ndim == 0 || h.ndim > MAREY_MAX_DIMS)
        damaged(name, "impossible sizes in its header");
    std::uint64_t elements = 1;
    for (std::uint64_t d = 0; d < h.ndim; ++d) {
        if (h.shape[d] == 0 || h.shape[d] > h.stride / elements)
            damaged(name, "impossible shape in its header");
        elements *= h.shape[d];
        g.shape.push_back(h.shape[d]);
    }
    if (elements > h.stride / h.itemsize) damaged(name, "an item does not fit its slot");
    const std::uint64_t readers = std::uint64_t{MAREY_READERS} * sizeof(marey_reader);
    if (h.control_offset != kPage || h.readers_offset < kPage + sizeof(marey_control) ||
        h.readers_offset % 64 != 0 || h.slots_offset % 64 != 0 ||
        h.slots_offset < h.readers_offset + readers || h.slots > limit / sizeof(marey_slot) ||
        h.spec_offset < h.slots_offset + h.slots * sizeof(marey_slot) ||
        h.spec_bytes > limit || h.control_bytes < h.spec_offset + h.spec_bytes ||
        h.control_bytes > limit)
        damaged(name, "impossible offsets in its header");
    return g;
}

unsigned bucket_of(std::int64_t ns) {
    if (ns <= 1000) return 0;
    const double quarter = 4.0 * std::log2(static_cast<double>(ns) / 1000.0);
    return std::min(static_cast<unsigned>(quarter), unsigned{MAREY_BUCKETS - 1});
}

}  // namespace

std::uint64_t Geometry::item_bytes() const {
    return std::accumulate(shape.begin(), shape.end(), itemsize, std::multiplies<>());
}

// ---------------------------------------------------------------- Ring

Ring::Ring(std::string folder_, std::string name_, Mapping control, Mapping data_, Geometry geometry_,
           std::string spec_)
    : folder(std::move(folder_)), name(std::move(name_)), spec(std::move(spec_)),
      geometry(std::move(geometry_)), data(std::make_shared<Mapping>(std::move(data_))),
      control_map_(std::move(control)) {
    std::byte *base = control_map_.data();
    const auto *header = reinterpret_cast<const marey_header *>(base);
    control_ = reinterpret_cast<marey_control *>(base + header->control_offset);
    readers_ = reinterpret_cast<marey_reader *>(base + header->readers_offset);
    slots_ = reinterpret_cast<marey_slot *>(base + header->slots_offset);
}

std::shared_ptr<Ring> Ring::attach(const std::string &folder, const std::string &name,
                                   bool writable_data) {
    // A writer that replaces its segment may remove the data between our two opens: look again.
    for (int tries = 0;; ++tries) {
        const std::string path = control_path(folder, name);
        marey_header header{};
        {
            Mapping first = open_file(path, kPage, false, true, name);
            std::memcpy(&header, first.data(), sizeof header);
        }
        Geometry geometry = checked(header, name);
        Mapping control = open_file(path, header.control_bytes, false, true, name);
        if (std::memcmp(control.data(), &header, sizeof header) != 0) {
            if (tries < 10) continue;
            damaged(name, "its header keeps changing");
        }
        std::string spec(reinterpret_cast<const char *>(control.data() + header.spec_offset),
                         header.spec_bytes);
        if (checksum(header, spec) != header.checksum) damaged(name, "its header is damaged");
        const auto *line = reinterpret_cast<const marey_control *>(control.data() + kPage);
        geometry.first = line->first;
        try {
            Mapping data = open_file(data_path(folder, name, geometry.generation), header.data_bytes,
                                     true, writable_data, name);
            return std::make_shared<Ring>(folder, name, std::move(control), std::move(data),
                                          std::move(geometry), std::move(spec));
        } catch (const StreamFault &fault) {
            if (fault.kind != Fault::missing || tries >= 10) throw;
        }
    }
}

std::uint64_t Ring::head() const { return acquire(control_->head); }

std::uint64_t Ring::oldest() const {
    const std::uint64_t begin = acquire(control_->begin);
    return std::max(geometry.first, begin > geometry.slots ? begin - geometry.slots : 0);
}

bool Ring::intact(std::uint64_t seq) const {
    std::atomic_thread_fence(std::memory_order_acquire);
    return relaxed(control_->begin) <= seq + geometry.slots;
}

std::uint32_t Ring::state() const { return acquire(control_->state); }

std::optional<marey_slot> Ring::look(std::uint64_t seq) const {
    if (seq >= head() || seq < oldest()) return std::nullopt;
    const marey_slot copy = slot(seq);
    if (!intact(seq)) return std::nullopt;
    if (copy.stamp.seq != seq) damaged(name, "item " + std::to_string(seq) + " bears another number");
    std::uint64_t elements = 1;
    for (std::size_t d = 0; d < geometry.shape.size(); ++d) {
        elements *= copy.shape[d];
        if (elements > geometry.stride) damaged(name, "impossible shape of an item");
    }
    if (elements * geometry.itemsize > geometry.stride) damaged(name, "impossible shape of an item");
    return copy;
}

// ---------------------------------------------------------------- Writer

namespace {

// Take the ownership of a segment whose writer is gone; throws if it lives.
void own(Ring &ring) {
    auto owner = shared(ring.control().owner);
    std::uint64_t found = owner.load(std::memory_order_acquire);
    if (found != 0 && alive(found))
        throw StreamFault(Fault::error, "stream '" + ring.name + "': process " +
                                            std::to_string(found >> 32) + " writes it already");
    if (!owner.compare_exchange_strong(found, self(), std::memory_order_acq_rel))
        throw StreamFault(Fault::error, "stream '" + ring.name + "': another process just took it");
}

std::shared_ptr<Ring> create_segment(const std::string &folder, const std::string &name,
                                     const Layout &layout, const Ring *before) {
    Geometry g;
    g.itemsize = layout.itemsize;
    g.shape = layout.shape;
    g.lossless = layout.lossless;
    g.generation = before == nullptr ? 1 : before->geometry.generation + 1;
    g.first = before == nullptr ? 0 : before->head();
    g.stride = std::max<std::uint64_t>(64, round_up(g.item_bytes(), 64));
    g.slots = round_up(layout.slots, page_size() / std::gcd(g.stride, std::uint64_t{page_size()}));

    marey_header h{};
    std::memcpy(h.magic, MAREY_MAGIC, sizeof h.magic);
    h.layout = MAREY_LAYOUT;
    h.flags = g.lossless ? MAREY_LOSSLESS : 0;
    h.generation = g.generation;
    h.slots = g.slots;
    h.stride = g.stride;
    h.data_bytes = g.slots * g.stride;
    h.itemsize = g.itemsize;
    h.ndim = g.shape.size();
    std::copy(g.shape.begin(), g.shape.end(), h.shape);
    h.control_offset = kPage;
    h.readers_offset = round_up(kPage + sizeof(marey_control), kPage);
    h.slots_offset = round_up(h.readers_offset + MAREY_READERS * sizeof(marey_reader), kPage);
    h.spec_offset = h.slots_offset + h.slots * sizeof(marey_slot);
    h.spec_bytes = layout.spec.size();
    h.control_bytes = round_up(h.spec_offset + h.spec_bytes, kPage);
    h.checksum = checksum(h, layout.spec);

    const std::string data_file = data_path(folder, name, g.generation);
    const std::string temporary =
        control_path(folder, name) + "." + std::to_string(self() >> 32) + ".new";
    ::unlink(data_file.c_str());
    ::unlink(temporary.c_str());
    Mapping data = create_file(data_file, h.data_bytes, true, name);
    try {
        Mapping control = create_file(temporary, h.control_bytes, false, name);
        std::memcpy(control.data(), &h, sizeof h);
        std::memcpy(control.data() + h.spec_offset, layout.spec.data(), layout.spec.size());
        auto *line = reinterpret_cast<marey_control *>(control.data() + h.control_offset);
        line->head = line->begin = line->first = g.first;
        line->owner = self();
        if (before != nullptr) {
            marey_control &old = before->control();
            line->epoch = old.epoch;
            line->device_lost = old.device_lost;
            line->device_repeated = old.device_repeated;
            std::memcpy(line->epochs, old.epochs, sizeof line->epochs);
            auto *rows = reinterpret_cast<marey_reader *>(control.data() + h.readers_offset);
            // Accounts whose readers are gone stay on the books; the others bring theirs along.
            for (std::size_t r = 0; r < MAREY_READERS; ++r) {
                const marey_reader &row = before->reader(r);
                if (row.policy != 0 && row.keep != 0 && (row.owner == 0 || !alive(row.owner))) {
                    rows[r] = row;
                    rows[r].owner = 0;
                }
            }
        }
        // The rename is the moment at which the stream exists, whole.
        if (std::rename(temporary.c_str(), control_path(folder, name).c_str()) != 0)
            throw StreamFault(Fault::error, "stream '" + name + "': cannot be named in " + folder);
        return std::make_shared<Ring>(folder, name, std::move(control), std::move(data), g,
                                      layout.spec);
    } catch (...) {
        ::unlink(temporary.c_str());
        ::unlink(data_file.c_str());
        throw;
    }
}

bool same_layout(const Ring &ring, const Layout &layout) {
    const Geometry &g = ring.geometry;
    return g.shape == layout.shape && g.itemsize == layout.itemsize && g.slots >= layout.slots &&
           g.lossless == layout.lossless && ring.spec == layout.spec;
}

void wake_readers(marey_control &control) {
    // Publication, fence, flag: pairs with the reader's flag, fence, look at head. One of the two
    // sees the other, so no reader sleeps on an item that is there (and the sleep is bounded).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (relaxed(control.sleepers) != 0 &&
        shared(control.sleepers).exchange(0, std::memory_order_acq_rel) != 0) {
        shared(control.wake).fetch_add(1, std::memory_order_release);
        wake_all(reinterpret_cast<std::atomic<std::uint32_t> *>(&control.wake));
    }
}

}  // namespace

Writer::Writer(const std::string &folder, const std::string &name, const Layout &layout) {
    if (layout.shape.empty() || layout.shape.size() > MAREY_MAX_DIMS || layout.itemsize == 0 ||
        layout.slots == 0)
        throw StreamFault(Fault::error, "stream '" + name + "': an item needs 1 to 4 dimensions, an "
                                                            "element size and at least one slot");
    std::shared_ptr<Ring> before;
    try {
        before = Ring::attach(folder, name, true);
    } catch (const StreamFault &fault) {
        if (fault.kind != Fault::missing) throw;
    }
    if (before != nullptr) own(*before);
    if (before != nullptr && same_layout(*before, layout)) {
        ring_ = before;
    } else {
        try {
            ring_ = create_segment(folder, name, layout, before.get());
        } catch (...) {
            if (before != nullptr) set_release(before->control().owner, std::uint64_t{0});
            throw;
        }
        if (before != nullptr) {
            set_release(before->control().state, std::uint32_t{MAREY_REPLACED});
            wake_readers(before->control());
            ::unlink(data_path(folder, name, before->geometry.generation).c_str());
        }
    }
    marey_control &control = ring_->control();
    // A dead writer's half-written item was never published: it is simply begun again.
    head_ = relaxed(control.head);
    set_relaxed(control.begin, head_);
    epoch_ = relaxed(control.epoch) + 1;
    control.epochs[epoch_ % MAREY_EPOCHS] = {epoch_, head_, unix_ns(), relaxed(control.device_lost)};
    set_release(control.epoch, epoch_);
    set_release(control.state, std::uint32_t{MAREY_WRITING});
    open_ = true;
    heartbeat();
}

Writer::~Writer() { close(); }

bool Writer::room(std::uint64_t n) {
    laggard_.reset();
    const std::uint64_t slots = ring_->geometry.slots;
    if (head_ + n <= ring_->geometry.first + slots) return true;
    for (std::size_t r = 0; r < MAREY_READERS; ++r) {
        marey_reader &row = ring_->reader(r);
        if (row.policy != MAREY_EVERY) continue;
        const std::uint64_t owner = acquire(row.owner);
        if (owner == 0 && row.keep == 0) continue;
        if (acquire(row.cursor) + slots >= head_ + n) {
            dead_since_[r] = 0;
            continue;
        }
        if (owner == 0 || !alive(owner)) {
            // A node that died may be started again and go on where it was: wait a little for it.
            if (row.keep == 0) continue;
            const std::int64_t now = mono_ns();
            if (dead_since_[r] == 0) dead_since_[r] = now;
            if (now - dead_since_[r] > kGrace) continue;
        }
        laggard_ = r;
        return false;
    }
    return true;
}

std::byte *Writer::lend(std::uint64_t n, std::int64_t timeout_ns) {
    if (!open_) throw StreamFault(Fault::closed, "stream '" + ring_->name + "': it is closed");
    if (n == 0 || n > ring_->geometry.slots)
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': lend " + std::to_string(n) +
                                            " items: expected 1 to " +
                                            std::to_string(ring_->geometry.slots));
    marey_control &control = ring_->control();
    if (ring_->geometry.lossless && !room(n)) {
        const std::int64_t until = mono_ns() + timeout_ns;
        for (;;) {
            const std::uint32_t seen = acquire(control.space);
            set_relaxed(control.writer_waits, std::uint32_t{1});
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (room(n)) break;
            const std::int64_t left = until - mono_ns();
            if (left <= 0) return nullptr;
            wait_on(reinterpret_cast<std::atomic<std::uint32_t> *>(&control.space), seen,
                    std::min(left, kBound));
        }
    }
    if (relaxed(control.begin) < head_ + n) {
        set_relaxed(control.begin, head_ + n);
        std::atomic_thread_fence(std::memory_order_release);
    }
    return ring_->slot_data(head_);
}

void Writer::publish(std::uint64_t n, const marey_stamp *stamps, const std::uint32_t *shape) {
    marey_control &control = ring_->control();
    if (!open_) throw StreamFault(Fault::closed, "stream '" + ring_->name + "': it is closed");
    if (n == 0 || relaxed(control.begin) < head_ + n)
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': publish " + std::to_string(n) +
                                            " items: not lent");
    const std::int64_t now = mono_ns();
    const Geometry &g = ring_->geometry;
    for (std::uint64_t i = 0; i < n; ++i) {
        marey_slot &slot = ring_->slot(head_ + i);
        slot.stamp = stamps[i];
        slot.stamp.seq = head_ + i;
        slot.stamp.published = now;
        if (slot.stamp.mono_time == 0) slot.stamp.mono_time = now;
        if (slot.stamp.host_time == 0) slot.stamp.host_time = unix_ns() - (now - slot.stamp.mono_time);
        slot.epoch = epoch_;
        for (std::size_t d = 0; d < g.shape.size(); ++d)
            slot.shape[d] = shape != nullptr ? shape[d] : static_cast<std::uint32_t>(g.shape[d]);
    }
    head_ += n;
    set_release(control.head, head_);
    set_relaxed(control.heartbeat, now);
    wake_readers(control);
}

void Writer::account(std::uint64_t device_lost, std::uint64_t device_repeated) {
    marey_control &control = ring_->control();
    set_relaxed(control.device_lost, relaxed(control.device_lost) + device_lost);
    set_relaxed(control.device_repeated, relaxed(control.device_repeated) + device_repeated);
}

void Writer::heartbeat() { set_relaxed(ring_->control().heartbeat, mono_ns()); }

void Writer::close() {
    if (!open_) return;
    open_ = false;
    marey_control &control = ring_->control();
    set_release(control.state, std::uint32_t{MAREY_CLOSED});
    set_release(control.owner, std::uint64_t{0});
    wake_readers(control);
}

bool end_stream(const std::string &folder, const std::string &name) {
    const auto ring = Ring::attach(folder, name);
    marey_control &control = ring->control();
    const std::uint64_t owner = acquire(control.owner);
    if (owner != 0 && alive(owner)) return false;
    set_release(control.state, std::uint32_t{MAREY_CLOSED});
    wake_readers(control);
    return true;
}

// ---------------------------------------------------------------- Reader

Reader::Reader(std::shared_ptr<Ring> ring, const std::string &name, Policy policy, Start start,
               bool keep)
    : ring_(std::move(ring)), name_(name.substr(0, MAREY_NAME - 1)), policy_(policy), keep_(keep) {
    claim(name_, start, keep);
}

Reader::~Reader() { leave(); }

void Reader::claim(const std::string &name, Start start, bool keep) {
    const std::uint64_t me = self();
    const auto take_row = [&](std::size_t r, std::uint64_t found) {
        return shared(ring_->reader(r).owner).compare_exchange_strong(found, me);
    };
    account_ = nullptr;
    bool resumed = false;
    // First the account that a dead reader of this name left, then a free row, then a dead one.
    for (int pass = 0; pass < 3 && account_ == nullptr; ++pass) {
        for (std::size_t r = 0; r < MAREY_READERS && account_ == nullptr; ++r) {
            marey_reader &row = ring_->reader(r);
            const std::uint64_t owner = acquire(row.owner);
            const bool kept = row.policy != 0 && row.keep != 0;
            if (owner != 0 && (pass == 1 || alive(owner))) continue;
            if (pass == 0 && !(keep && kept && row.policy == static_cast<std::uint32_t>(policy_) &&
                               std::strncmp(row.name, name.c_str(), MAREY_NAME) == 0))
                continue;
            if (pass != 0 && kept) continue;
            if (!take_row(r, owner)) continue;
            row_ = r;
            account_ = &row;
            resumed = pass == 0;
        }
    }
    if (account_ == nullptr)
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': all " +
                                            std::to_string(MAREY_READERS) + " places for readers are "
                                                                            "taken");
    marey_reader &row = *account_;
    if (resumed) {
        cursor_ = std::min(relaxed(row.cursor), ring_->head());
        shared(row.generation).fetch_add(1);
        return;
    }
    row.policy = 0;  // not yet an account: outsiders pass it over
    std::memset(row.name, 0, sizeof row.name);
    std::memcpy(row.name, name.data(), name.size());
    row.keep = keep ? 1 : 0;
    row.received = row.torn = row.skipped = 0;
    std::memset(row.latency, 0, sizeof row.latency);
    set_relaxed(row.heartbeat, mono_ns());
    shared(row.generation).fetch_add(1);
    const std::uint64_t head = ring_->head(), oldest = std::min(ring_->oldest(), head);
    std::uint64_t at = head;
    switch (start.at) {
    case Start::At::now: break;
    case Start::At::oldest: at = oldest; break;
    case Start::At::seq:
        at = std::clamp(static_cast<std::uint64_t>(start.value), oldest, head);
        break;
    case Start::At::back: {
        // The first item exposed since then: stamps rise, so halve the range.
        const std::int64_t since = mono_ns() - start.value;
        std::uint64_t lo = oldest, hi = head;
        while (lo < hi) {
            const std::uint64_t middle = lo + (hi - lo) / 2;
            const auto slot = ring_->look(middle);
            if (!slot || slot->stamp.mono_time < since) lo = middle + 1;
            else hi = middle;
        }
        at = lo;
    } break;
    }
    cursor_ = at;
    set_relaxed(row.start, at);
    set_release(row.cursor, at);
    set_release(row.policy, static_cast<std::uint32_t>(policy_));
}

void Reader::leave() {
    if (account_ == nullptr) return;
    release();
    if (!keep_) set_release(account_->policy, std::uint32_t{0});
    set_release(account_->owner, std::uint64_t{0});
    account_ = nullptr;
    if (ring_->geometry.lossless) {
        shared(ring_->control().space).fetch_add(1, std::memory_order_release);
        wake_all(reinterpret_cast<std::atomic<std::uint32_t> *>(&ring_->control().space));
    }
}

void Reader::set_cursor(std::uint64_t to) {
    cursor_ = to;
    set_release(account_->cursor, to);
    if (!ring_->geometry.lossless) return;
    marey_control &control = ring_->control();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (relaxed(control.writer_waits) != 0 &&
        shared(control.writer_waits).exchange(0, std::memory_order_acq_rel) != 0) {
        shared(control.space).fetch_add(1, std::memory_order_release);
        wake_all(reinterpret_cast<std::atomic<std::uint32_t> *>(&control.space));
    }
}

bool Reader::release() {
    if (in_hand_ == 0) return true;
    const std::uint64_t n = std::exchange(in_hand_, 0);
    const bool intact = ring_->intact(cursor_);
    auto &count = intact ? account_->received : account_->torn;
    set_relaxed(count, count + n);
    set_cursor(cursor_ + n);
    return intact;
}

Reader::Outcome Reader::ended() const {
    switch (ring_->state()) {
    case MAREY_CLOSED: return cursor_ >= ring_->head() ? Outcome::closed : Outcome::nothing;
    case MAREY_REPLACED: return cursor_ >= ring_->head() ? Outcome::replaced : Outcome::nothing;
    default: return Outcome::nothing;
    }
}

bool Reader::ready(std::uint64_t n) const {
    const std::uint64_t head = ring_->head();
    return head >= cursor_ + in_hand_ + n || ring_->state() >= MAREY_CLOSED;
}

Watched Reader::watch() const {
    marey_control &control = ring_->control();
    auto *word = reinterpret_cast<std::atomic<std::uint32_t> *>(&control.wake);
    const Watched watched{word, word->load(std::memory_order_acquire)};
    set_relaxed(control.sleepers, std::uint32_t{1});
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return watched;
}

Reader::Outcome Reader::take(std::uint64_t n, Item &item) {
    if (account_ == nullptr)
        throw StreamFault(Fault::closed, "stream '" + ring_->name + "': this reader was closed");
    if (n == 0 || n > ring_->geometry.slots)
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': a block of " +
                                            std::to_string(n) + ": expected 1 to " +
                                            std::to_string(ring_->geometry.slots));
    release();
    const Outcome outcome = policy_ == Policy::every ? take_every(n, item) : take_latest(item);
    if (outcome == Outcome::item) deliver(item);
    return outcome;
}

Reader::Outcome Reader::take_every(std::uint64_t n, Item &item) {
    for (;;) {
        // The state is read before the head: what a writer published before it closed is seen.
        const std::uint32_t state = ring_->state();
        const std::uint64_t head = ring_->head();
        const std::uint64_t oldest = std::min(ring_->oldest(), head);
        if (cursor_ < oldest) {
            // Lapped: go on in the middle; at the oldest we would be lapped again at once.
            const std::uint64_t half = ring_->geometry.slots / 2;
            const std::uint64_t to = std::max(oldest, head > half ? head - half : 0);
            if (lost_from_ == lost_to_) lost_from_ = cursor_;
            lost_to_ = to;
            set_cursor(to);
            continue;
        }
        item.count = n;
        if (head < cursor_ + n) {
            if (state < MAREY_CLOSED || head <= cursor_) return ended();
            item.count = head - cursor_;
        }
        item.seq = cursor_;
        if (copy_slots(item)) break;
    }
    item.lost_from = std::exchange(lost_from_, 0);
    item.lost_to = std::exchange(lost_to_, 0);
    return Outcome::item;
}

Reader::Outcome Reader::take_latest(Item &item) {
    for (;;) {
        const std::uint64_t head = ring_->head();
        if (head <= cursor_) return ended();
        const std::uint64_t newest = head - 1;
        if (newest < ring_->geometry.first) return ended();
        if (newest > cursor_) {
            set_relaxed(account_->skipped, account_->skipped + (newest - cursor_));
            set_cursor(newest);
        }
        item.seq = newest;
        item.count = 1;
        item.lost_from = item.lost_to = 0;
        if (copy_slots(item)) return Outcome::item;
    }
}

bool Reader::copy_slots(Item &item) const {
    const auto first = ring_->look(item.seq);
    if (!first) return false;
    item.slot = *first;
    item.more.clear();
    for (std::uint64_t i = 1; i < item.count; ++i) {
        const auto slot = ring_->look(item.seq + i);
        if (!slot) return false;
        item.more.push_back(*slot);
    }
    return true;
}

void Reader::deliver(const Item &item) {
    in_hand_ = item.count;
    const std::int64_t now = mono_ns();
    set_relaxed(account_->heartbeat, now);
    std::uint32_t &bucket = account_->latency[bucket_of(now - item.slot.stamp.published)];
    set_relaxed(bucket, bucket + 1);
}

void Reader::follow(std::shared_ptr<Ring> ring) {
    const marey_reader old = *account_;
    leave();
    ring_ = std::move(ring);
    claim(name_, {Start::At::seq, static_cast<std::int64_t>(cursor_)}, keep_);
    account_->received = old.received;
    account_->torn = old.torn;
    account_->skipped = old.skipped;
    std::memcpy(account_->latency, old.latency, sizeof old.latency);
    set_relaxed(account_->start, old.start);
}

}  // namespace marey
