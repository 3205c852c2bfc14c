// The order of stores, and why it is enough (docs/reference/ring-layout.md tells it at length).
//
// Writer, item n:   begin = n+1; fence; pixels and slot; head = n+1 (release).
// Reader, item f:   head (acquire) > f; pixels and slot; acquire fence; begin <= f + N: intact.
//
// If a reader saw any byte of item f+N, the writer's fence came before that byte and the reader's
// fence after it, so the reader's load of `begin` sees at least f+N+1 and the item is refused. This
// is a seqlock: the pixels are formally a data race, the usual practice, and sound while both
// fences stand. It holds on ARM too, since both sides fence and neither relies on x86's order.
#include "marey/ring.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

#include "segment.hpp"
#include "shared.hpp"

namespace marey {

static_assert(sizeof(marey_header) == 152 && sizeof(marey_slot) == 128);
static_assert(sizeof(marey_control) == 320 + MAREY_EPOCHS * 32);
static_assert(sizeof(marey_reader) == 512 && offsetof(marey_reader, policy) == 64);
static_assert(offsetof(marey_accounts, readers) == 128);
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

std::uint64_t Geometry::item_bytes() const {
    return std::accumulate(shape.begin(), shape.end(), itemsize, std::multiplies<>());
}

Ring::Ring(std::string folder_, std::string name_, std::string spec_, Geometry geometry_,
           Mapping control, Mapping data_, Mapping accounts, const marey_header &header)
    : folder(std::move(folder_)), name(std::move(name_)), spec(std::move(spec_)),
      geometry(std::move(geometry_)), data(std::make_shared<Mapping>(std::move(data_))),
      control_map_(std::move(control)), accounts_map_(std::move(accounts)) {
    std::byte *base = control_map_.data();
    control_ = reinterpret_cast<marey_control *>(base + MAREY_CONTROL_OFFSET);
    slots_ = reinterpret_cast<marey_slot *>(base + header.slots_offset);
    accounts_ = reinterpret_cast<marey_accounts *>(accounts_map_.data());
}

std::shared_ptr<Ring> Ring::attach(const std::string &folder, const std::string &name,
                                   Access data_access) {
    const std::string path = control_path(folder, name);
    for (int tries = 0;; ++tries) {
        marey_header header{};
        {
            Mapping first = open_file(path, MAREY_CONTROL_OFFSET, false, Access::write, name);
            std::memcpy(&header, first.data(), sizeof header);
        }
        Geometry geometry = checked(header, name);
        Mapping control = open_file(path, header.control_bytes, false, Access::write, name);
        if (std::memcmp(control.data(), &header, sizeof header) != 0) {
            if (tries < 10) continue;  // it was replaced between our two looks
            damaged(name, "its header keeps changing");
        }
        std::string spec(reinterpret_cast<const char *>(control.data() + header.spec_offset),
                         header.spec_bytes);
        if (checksum(header, spec) != header.checksum) damaged(name, "its header is damaged");
        try {
            Mapping data = open_file(data_path(folder, name, geometry.generation), header.data_bytes,
                                     true, data_access, name);
            Mapping accounts = open_file(accounts_path(folder, name, geometry.life),
                                         sizeof(marey_accounts), false, Access::write, name);
            check_accounts(*reinterpret_cast<marey_accounts *>(accounts.data()), geometry, name);
            return std::shared_ptr<Ring>(new Ring(folder, name, std::move(spec), std::move(geometry),
                                                  std::move(control), std::move(data),
                                                  std::move(accounts), header));
        } catch (const StreamFault &fault) {
            if (fault.kind != Fault::missing) throw;
        }
        // A writer that replaces its segment removes the old data after it has taken the name.
        if (tries >= 10 || file_at(path) == control.id()) damaged(name, "its data file is missing");
    }
}

std::uint64_t Ring::head() const {
    const std::uint64_t head = acquire(control_->head);
    // A hundred years of a frame each ns; beyond it, sums of seq and slots could wrap.
    if (head >> 62 != 0) damaged(name, "impossible counters");
    return head;
}

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
    const marey_slot copy = load_words(slot(seq));
    if (!intact(seq)) return std::nullopt;
    if (copy.stamp.seq != seq) damaged(name, "item " + std::to_string(seq) + " bears another number");
    for (std::size_t d = 0; d < geometry.shape.size(); ++d)
        if (copy.shape[d] > geometry.shape[d]) damaged(name, "impossible shape of an item");
    return copy;
}

std::optional<marey_reader> Ring::account(std::size_t row) const {
    marey_reader &there = accounts_->readers[row];
    for (int tries = 0; tries < 3; ++tries) {
        const std::uint64_t generation = acquire(there.generation);
        if (acquire(there.policy) == 0) return std::nullopt;
        const marey_reader copy = load_words(there);
        std::atomic_thread_fence(std::memory_order_acquire);
        // It may have become another reader's meanwhile.
        if (relaxed(there.generation) == generation && copy.policy != 0) return copy;
    }
    return std::nullopt;
}

bool Ring::named() const { return file_at(control_path(folder, name)) == control_map_.id(); }

bool Ring::superseded() const {
    if (state() == MAREY_REPLACED || superseded_.load(std::memory_order_relaxed)) return true;
    const std::int64_t now = mono_ns();
    if (now - looked_.load(std::memory_order_relaxed) < kBound) return false;
    looked_.store(now, std::memory_order_relaxed);
    if (named()) return false;
    superseded_.store(true, std::memory_order_relaxed);
    return true;
}

void wake_readers(marey_control &control) {
    // Publication, fence, flag: pairs with the reader's flag, fence, look at head. One of the two
    // sees the other, so no reader sleeps on an item that is there (and the sleep is bounded).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (relaxed(control.sleepers) != 0 &&
        shared(control.sleepers).exchange(0, std::memory_order_acq_rel) != 0) {
        shared(control.wake).fetch_add(1, std::memory_order_release);
        wake_all(word(control.wake));
    }
}

bool end_stream(const std::string &folder, const std::string &name) {
    const auto ring = Ring::attach(folder, name, Access::look);
    marey_control &control = ring->control();
    std::uint64_t owner = acquire(control.owner);
    // Owned while it is marked, so that a writer that starts just now is not marked as ended.
    if ((owner != 0 && alive(owner)) || !shared(control.owner).compare_exchange_strong(owner, self()))
        return false;
    set_release(control.state, MAREY_CLOSED);
    set_release(control.owner, 0);
    wake_readers(control);
    return true;
}

}  // namespace marey
