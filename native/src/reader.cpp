#include "marey/reader.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "segment.hpp"
#include "shared.hpp"

namespace marey {

namespace {

using Name = std::array<std::uint64_t, MAREY_NAME / 8>;

Name as_words(const std::string &name) {
    Name words{};
    std::memcpy(words.data(), name.data(), std::min<std::size_t>(name.size(), MAREY_NAME - 1));
    return words;
}

Name &name_of(marey_reader &row) { return reinterpret_cast<Name &>(row.name); }

// An account that waits for its reader to come back.
bool kept(marey_reader &row) { return acquire(row.policy) != 0 && relaxed(row.keep) != 0; }

unsigned bucket_of(std::int64_t ns) {
    if (ns <= 1000) return 0;
    const double third = 3.0 * std::log2(static_cast<double>(ns) / 1000.0);
    return std::min(static_cast<unsigned>(third), unsigned{MAREY_BUCKETS - 1});
}

}  // namespace

Reader::Reader(std::shared_ptr<Ring> ring, const std::string &name, Policy policy, Start start,
               bool keep)
    : ring_(std::move(ring)), name_(name), policy_(policy), keep_(keep), owner_(self()) {
    claim(start);
}

Reader::~Reader() { leave(); }

// ---------------------------------------------------------------- the account

// Take a row: the account that an earlier reader of this name left (then true), or a free row, or
// one whose reader is dead.
bool Reader::claim_row() {
    const Name name = as_words(name_);
    enum class Wanted { account, free_row, dead_row };
    const auto fits = [&](Wanted wanted, marey_reader &row) {
        if (wanted != Wanted::account) return !kept(row);
        return keep_ && kept(row) && relaxed(row.policy) == static_cast<std::uint32_t>(policy_) &&
               load_words(name_of(row)) == name;
    };
    for (const Wanted wanted : {Wanted::account, Wanted::free_row, Wanted::dead_row}) {
        for (std::size_t r = 0; r < MAREY_READERS; ++r) {
            marey_reader &row = ring_->accounts().readers[r];
            std::uint64_t owner = acquire(row.owner);
            if (!fits(wanted, row)) continue;
            if (owner != 0 && (wanted == Wanted::free_row || alive(owner))) continue;
            if (!shared(row.owner).compare_exchange_strong(owner, owner_)) continue;
            // Between our look and our taking it another may have had the row and left it.
            if (!fits(wanted, row)) {
                set_release(row.owner, 0);
                continue;
            }
            row_ = r;
            account_ = &row;
            return wanted == Wanted::account;
        }
    }
    throw StreamFault(Fault::error, "stream '" + ring_->name + "': all " +
                                        std::to_string(MAREY_READERS) +
                                        " places for readers are taken");
}

void Reader::claim(Start start) {
    const bool resumed = claim_row();
    marey_reader &row = *account_;
    in_hand_ = lost_from_ = lost_to_ = 0;
    if (resumed) {
        cursor_ = std::min(relaxed(row.cursor), ring_->head());
        if (relaxed(row.old_cursor) == cursor_) store_words(row.losses, load_words(row.old_losses));
        set_relaxed(row.cursor, cursor_);
        shared(row.generation).fetch_add(1);
        return;
    }
    set_relaxed(row.policy, 0);  // no account yet: outsiders pass it over
    shared(row.generation).fetch_add(1);
    std::atomic_thread_fence(std::memory_order_release);  // pairs with Ring::account
    set_relaxed(row.keep, 0);
    store_words(name_of(row), as_words(name_));
    store_words(row.losses, {});
    store_words(row.old_losses, {});
    for (std::uint32_t &count : row.latency) set_relaxed(count, 0);
    set_relaxed(row.heartbeat, mono_ns());
    if (ring_->geometry.lossless && policy_ == Policy::every) {
        // Hold the writer before looking for the place to begin at (see Writer::lend).
        for (std::uint64_t *field : {&row.start, &row.cursor, &row.old_cursor}) set_relaxed(*field, 0);
        set_release(row.policy, MAREY_EVERY);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    cursor_ = place(start);
    set_relaxed(row.start, cursor_);
    set_relaxed(row.old_cursor, cursor_);
    set_cursor(cursor_);
    set_release(row.policy, static_cast<std::uint32_t>(policy_));
    set_release(row.keep, keep_ ? 1 : 0);
}

// The first item of a new account.
std::uint64_t Reader::place(Start start) const {
    const std::uint64_t head = ring_->head(), slots = ring_->geometry.slots;
    std::uint64_t oldest = std::min(ring_->oldest(), head);
    if (ring_->geometry.lossless) {
        const std::uint64_t reserve = acquire(ring_->control().reserve);
        oldest = std::clamp(reserve > slots ? reserve - slots : 0, oldest, head);
    }
    if (start.at == Start::At::now) return head;
    if (start.at == Start::At::oldest) return oldest;
    // The first item exposed since then: stamps rise, so halve the range.
    const std::int64_t since = mono_ns() - start.value;
    std::uint64_t lo = oldest, hi = head;
    while (lo < hi) {
        const std::uint64_t middle = lo + (hi - lo) / 2;
        const auto slot = ring_->look(middle);
        if (!slot || slot->stamp.mono_time < since) lo = middle + 1;
        else hi = middle;
    }
    return lo;
}

void Reader::leave() {
    if (account_ == nullptr) return;
    if (owner_ != self()) {  // a fork's copy: the account is its parent's
        account_ = nullptr;
        return;
    }
    release();
    if (!keep_) set_release(account_->policy, 0);
    set_release(account_->owner, 0);
    account_ = nullptr;
    marey_accounts &accounts = ring_->accounts();
    shared(accounts.space).fetch_add(1, std::memory_order_release);
    wake_all(word(accounts.space));
}

void Reader::check_usable() const {
    if (account_ == nullptr)
        throw StreamFault(Fault::closed, "stream '" + ring_->name + "': this reader was closed");
    if (owner_ != self())
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': this reader belongs to process " +
                                            std::to_string(owner_ >> 32) +
                                            ", of which this is a fork; open another one");
}

void Reader::set_cursor(std::uint64_t to) {
    cursor_ = to;
    set_release(account_->cursor, to);
    if (!ring_->geometry.lossless) return;
    // The place in the ring, fence, flag: pairs with the writer's flag, fence, look at the places.
    marey_accounts &accounts = ring_->accounts();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (relaxed(accounts.writer_waits) != 0 &&
        shared(accounts.writer_waits).exchange(0, std::memory_order_acq_rel) != 0) {
        shared(accounts.space).fetch_add(1, std::memory_order_release);
        wake_all(word(accounts.space));
    }
}

// Pass over n items for a reason other than receiving them. The releases keep the stores in order:
// a kill between the last two leaves a cursor that equals old_cursor, and the count is taken back.
void Reader::settle(std::uint64_t marey_losses::*kind, std::uint64_t n, std::uint64_t to) {
    marey_reader &row = *account_;
    store_words(row.old_losses, load_words(row.losses));
    set_release(row.old_cursor, cursor_);
    set_release(row.losses.*kind, relaxed(row.losses.*kind) + n);
    set_cursor(to);
}

bool Reader::release(std::optional<bool> was_intact) {
    if (in_hand_ == 0 || account_ == nullptr) return true;
    check_usable();
    const std::uint64_t n = std::exchange(in_hand_, 0);
    const bool intact = was_intact.value_or(ring_->intact(cursor_));
    if (intact) set_cursor(cursor_ + n);
    else settle(&marey_losses::torn, n, cursor_ + n);
    return intact;
}

void Reader::settle_before(std::uint64_t seq) {
    check_usable();
    if (in_hand_ == 0 && seq > cursor_) set_cursor(std::min(seq, ring_->head()));
}

std::uint64_t Reader::purge() {
    check_usable();
    release();
    const std::uint64_t head = ring_->head(), from = cursor_;
    if (head <= from) return 0;
    if (policy_ == Policy::every) {
        if (lost_from_ == lost_to_) lost_from_ = from;
        lost_to_ = head;
    }
    settle(&marey_losses::skipped, head - from, head);
    return head - from;
}

// ---------------------------------------------------------------- the items

// What it means that a segment in that state, read before its head, has nothing more for us.
Reader::Outcome Reader::ended(std::uint32_t state) const {
    switch (state) {
    case MAREY_IDLE:
    case MAREY_WRITING: return ring_->superseded() ? Outcome::replaced : Outcome::nothing;
    case MAREY_CLOSED: return Outcome::closed;
    case MAREY_REPLACED: return Outcome::replaced;
    default: damaged(ring_->name, "impossible state");
    }
}

bool Reader::ready(std::uint64_t n) const {
    if (account_ == nullptr) return true;
    const std::uint64_t head = ring_->head();
    // Where the newest item's slot is being written anew, latest() waits for the one after it.
    if (head >= cursor_ + in_hand_ + n && (policy_ == Policy::every || ring_->oldest() < head))
        return true;
    return ring_->state() >= MAREY_CLOSED || ring_->superseded();
}

Watched Reader::watch() const {
    marey_control &control = ring_->control();
    const Watched watched{word(control.wake), acquire(control.wake)};
    set_relaxed(control.sleepers, 1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return watched;
}

Reader::Outcome Reader::take(std::uint64_t n, Item &item) {
    check_usable();
    const Geometry &g = ring_->geometry;
    if (n == 0 || n > g.most())
        throw StreamFault(Fault::error, "stream '" + ring_->name + "': a block of " +
                                            std::to_string(n) + ": expected 1 to " +
                                            std::to_string(g.most()) + " in its ring of " +
                                            std::to_string(g.slots));
    release();
    const Outcome outcome = policy_ == Policy::every ? take_every(n, item) : take_latest(item);
    if (outcome == Outcome::item || outcome == Outcome::closed) {
        item.lost_from = std::exchange(lost_from_, 0);
        item.lost_to = std::exchange(lost_to_, 0);
    }
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
            settle(&marey_losses::lost, to - cursor_, to);
            continue;
        }
        item.count = std::min(n, head > cursor_ ? head - cursor_ : 0);
        if (item.count < n) {
            const Outcome end = ended(state);
            // A dead writer's last item may have come since we read the head.
            if (end != Outcome::nothing && ring_->head() != head) continue;
            if (item.count == 0 || end == Outcome::nothing) return end;
        }
        item.seq = cursor_;
        if (copy_slots(item)) return Outcome::item;
    }
}

Reader::Outcome Reader::take_latest(Item &item) {
    for (;;) {
        const std::uint32_t state = ring_->state();
        const std::uint64_t head = ring_->head();
        if (head <= std::max(cursor_, ring_->geometry.first)) {
            const Outcome end = ended(state);
            if (end != Outcome::nothing && ring_->head() != head) continue;
            return end;
        }
        if (state == MAREY_REPLACED) {  // the newest of all is in the segment after this one
            settle(&marey_losses::skipped, head - cursor_, head);
            return Outcome::replaced;
        }
        const std::uint64_t newest = head - 1;
        if (newest > cursor_) settle(&marey_losses::skipped, newest - cursor_, newest);
        item.seq = newest;
        item.count = 1;
        if (copy_slots(item)) return Outcome::item;
        if (ring_->head() == head) return ended(state);  // its slot is being written anew
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
    std::uint32_t &bucket = account_->latency[bucket_of(since(now, item.slot.stamp.published))];
    set_relaxed(bucket, relaxed(bucket) + 1);
}

void Reader::follow(std::shared_ptr<Ring> ring) {
    check_usable();
    if (ring->id() == ring_->id()) damaged(ring->name, "replaced, but by nothing");
    if (ring->accounts_id() == ring_->accounts_id()) {
        ring_ = std::move(ring);
        account_ = &ring_->accounts().readers[row_];
        return;
    }
    // The stream was removed and made anew: all of it is ours, from its first item.
    leave();
    ring_ = std::move(ring);
    claim({Start::At::oldest, 0});
}

}  // namespace marey
