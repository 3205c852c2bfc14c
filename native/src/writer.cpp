#include "marey/writer.hpp"

#include <algorithm>
#include <unistd.h>
#include <utility>

#include "segment.hpp"
#include "shared.hpp"

namespace marey {

namespace {

constexpr std::int64_t kGrace = 5'000'000'000;  // a dead node's reader is waited for, ns

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

void disown(Ring &ring) { set_release(ring.control().owner, 0); }

std::shared_ptr<Ring> existing(const std::string &folder, const std::string &name) {
    try {
        return Ring::attach(folder, name, Access::write);
    } catch (const StreamFault &fault) {
        if (fault.kind != Fault::missing) throw;
        return nullptr;
    }
}

bool same_layout(const Ring &ring, const Layout &layout) {
    const Geometry &found = ring.geometry, wanted = planned(layout, ring.name);
    return found.shape == wanted.shape && found.itemsize == wanted.itemsize &&
           found.slots == wanted.slots && found.lossless == wanted.lossless &&
           ring.spec == layout.spec;
}

// Put a new segment in the place of one that we own.
std::shared_ptr<Ring> replace(Ring &before, const Layout &layout) {
    std::shared_ptr<Ring> ring;
    try {
        ring = Ring::create(before.folder, before.name, layout, &before);
    } catch (...) {
        disown(before);
        throw;
    }
    set_release(before.control().state, MAREY_REPLACED);
    wake_readers(before.control());
    return ring;
}

}  // namespace

Writer::Writer(const std::string &folder, const std::string &name, const Layout &layout) {
    planned(layout, name);  // refuse it before anything is touched
    for (int tries = 0; ring_ == nullptr; ++tries) {
        if (tries == 10)
            throw StreamFault(Fault::error, "stream '" + name + "': others keep making and removing it");
        const std::shared_ptr<Ring> before = existing(folder, name);
        if (before == nullptr) {
            ring_ = Ring::create(folder, name, layout, nullptr);
            continue;
        }
        own(*before);
        // Whoever owned it before us may have replaced it: then this one leads nowhere.
        if (!before->named()) {
            disown(*before);
            continue;
        }
        ring_ = same_layout(*before, layout) ? before : replace(*before, layout);
    }
    try {
        ring_->sweep();
        begin_writing();
    } catch (...) {
        disown(*ring_);
        throw;
    }
}

void Writer::begin_writing() {
    marey_control &control = ring_->control();
    head_ = ring_->head();
    // A dead writer's half-written items were never published: they are begun again. What it began
    // to overwrite stays refused, hence `begin` stays where it is.
    const std::uint64_t begin = relaxed(control.begin);
    if (head_ < ring_->geometry.first || begin < head_ || begin - head_ > ring_->geometry.slots)
        damaged(ring_->name, "impossible counters");
    owner_ = self();
    epoch_ = relaxed(control.epoch) + 1;
    store_words(control.epochs[epoch_ % MAREY_EPOCHS],
                {epoch_, head_, unix_ns(), relaxed(control.device_lost)});
    set_release(control.epoch, epoch_);
    set_release(control.state, MAREY_WRITING);
    open_ = true;
    heartbeat();
}

Writer::~Writer() { close(); }

void Writer::check_usable() const {
    if (!open_) throw StreamFault(Fault::closed, "stream '" + ring_->name + "': it is closed");
    if (owner_ != self())
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': it belongs to process " +
                                            std::to_string(owner_ >> 32) + ", of which this is a fork");
}

bool Writer::room(std::uint64_t n) {
    laggard_.reset();
    const std::uint64_t slots = ring_->geometry.slots, first = ring_->geometry.first;
    const std::uint64_t wanted = head_ + n;
    if (wanted <= first + slots) return true;
    for (std::size_t r = 0; r < MAREY_READERS; ++r) {
        marey_reader &row = ring_->accounts().readers[r];
        if (acquire(row.policy) != MAREY_EVERY) continue;
        Absence &absence = absences_[r];
        // One who still drains the segment before this one will come to its first item.
        if (std::max(acquire(row.cursor), first) + slots >= wanted) {
            absence = {};
            continue;
        }
        const std::uint64_t owner = acquire(row.owner);
        if (absence.since == 0 || absence.owner != owner) {
            const bool gone = owner == 0 || !alive(owner);
            absence = gone ? Absence{owner, mono_ns()} : Absence{};
        }
        if (absence.since != 0) {
            // A node that died may be started again and go on where it was: wait a little for it.
            if (relaxed(row.keep) == 0 || mono_ns() - absence.since > kGrace) continue;
        }
        laggard_ = r;
        return false;
    }
    return true;
}

std::byte *Writer::lend(std::uint64_t n) {
    check_usable();
    const std::uint64_t most = ring_->geometry.most();
    if (n == 0 || n > most)
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': lend " + std::to_string(n) +
                                            " items: expected 1 to " + std::to_string(most));
    marey_control &control = ring_->control();
    if (ring_->geometry.lossless) {
        // Intention, fence, look at the readers: pairs with a new reader's row, fence, look at the
        // intention. Either we see the reader and wait, or it begins behind what we overwrite.
        set_relaxed(control.reserve, head_ + n);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!room(n)) {
            set_relaxed(control.reserve, relaxed(control.begin));
            return nullptr;
        }
    }
    lent_ = std::max(lent_, n);
    if (relaxed(control.begin) < head_ + n) {
        set_relaxed(control.begin, head_ + n);
        // A release fence would do for ordinary stores; the streaming stores of a large memcpy are
        // ordered by a full one only.
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    return ring_->slot_data(head_);
}

Watched Writer::watch() const {
    marey_accounts &accounts = ring_->accounts();
    const Watched watched{word(accounts.space), acquire(accounts.space)};
    set_relaxed(accounts.writer_waits, 1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return watched;
}

void Writer::publish(std::uint64_t n, const marey_stamp *stamps, const std::uint32_t *shape) {
    check_usable();
    if (n == 0 || n > lent_)
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': publish " + std::to_string(n) +
                                            " items: " + std::to_string(lent_) + " are lent");
    marey_control &control = ring_->control();
    const Geometry &g = ring_->geometry;
    const std::int64_t now = mono_ns();
    std::int64_t unix_now = 0;
    marey_slot slot{};
    slot.epoch = epoch_;
    for (std::size_t d = 0; d < g.shape.size(); ++d)
        slot.shape[d] = shape != nullptr ? shape[d] : static_cast<std::uint32_t>(g.shape[d]);
    for (std::uint64_t i = 0; i < n; ++i) {
        slot.stamp = stamps[i];
        slot.stamp.seq = head_ + i;
        slot.stamp.published = now;
        if (slot.stamp.mono_time == 0) slot.stamp.mono_time = now;
        if (slot.stamp.host_time == 0) {
            if (unix_now == 0) unix_now = unix_ns();
            slot.stamp.host_time = since(unix_now, since(now, slot.stamp.mono_time));
        }
        store_words(ring_->slot(head_ + i), slot);
    }
    head_ += n;
    lent_ -= n;
    set_release(control.head, head_);
    set_relaxed(control.heartbeat, now);
    wake_readers(control);
}

void Writer::account(std::uint64_t device_lost, std::uint64_t device_repeated) {
    check_usable();
    marey_control &control = ring_->control();
    set_relaxed(control.device_lost, relaxed(control.device_lost) + device_lost);
    set_relaxed(control.device_repeated, relaxed(control.device_repeated) + device_repeated);
}

void Writer::heartbeat() { set_relaxed(ring_->control().heartbeat, mono_ns()); }

void Writer::close(bool ended) {
    if (!std::exchange(open_, false) || owner_ != self()) return;
    marey_control &control = ring_->control();
    if (ended) set_release(control.state, MAREY_CLOSED);
    set_release(control.owner, 0);
    wake_readers(control);
}

}  // namespace marey
