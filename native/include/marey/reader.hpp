// The reading side of a ring, with an account of what was received and lost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "marey/ring.hpp"

namespace marey {

enum class Policy : std::uint32_t { every = MAREY_EVERY, latest = MAREY_LATEST };

struct Item {
    std::uint64_t seq = 0, count = 0;
    std::uint64_t lost_from = 0, lost_to = 0;
    marey_slot slot{};
    std::vector<marey_slot> more;  // slots 1.. of a block
};

// Where a reader begins: at the next item, at the oldest kept, or so many ns back.
struct Start {
    enum class At { now, oldest, back } at = At::now;
    std::int64_t value = 0;
};

// Not for use by several threads at once, and not by a fork: only the process that made it.
class Reader {
  public:
    Reader(std::shared_ptr<Ring> ring, const std::string &name, Policy policy, Start start, bool keep);
    ~Reader();
    Reader(const Reader &) = delete;
    Reader &operator=(const Reader &) = delete;

    const std::shared_ptr<Ring> &ring() const { return ring_; }
    std::size_t row() const { return row_; }
    std::uint64_t cursor() const { return cursor_; }

    enum class Outcome { item, nothing, closed, replaced };
    // Settle the item in hand, then take the next n (fewer at the end of a closed stream). What was
    // lost before them, or at the end, is told in the item.
    Outcome take(std::uint64_t n, Item &item);
    // Settle the item in hand: it counts as received if it is still intact, or was when its user
    // asked, else as torn.
    bool release(std::optional<bool> was_intact = std::nullopt);
    // Count what lies before an item as received: an earlier process with this account dealt with
    // it, and was killed before it could settle it.
    void settle_before(std::uint64_t seq);
    // Pass over what is published already; how many items that were. The next item is told as lost
    // before it what was passed over.
    std::uint64_t purge();
    // Whether take would answer anything but nothing.
    bool ready(std::uint64_t n) const;
    // Prepare to sleep: the word and what it holds; ready() must be asked afterwards.
    Watched watch() const;
    // Go on in the segment that replaced this one, with the same account.
    void follow(std::shared_ptr<Ring> ring);
    void leave();

  private:
    Outcome take_every(std::uint64_t n, Item &item);
    Outcome take_latest(Item &item);
    Outcome ended(std::uint32_t state) const;
    bool copy_slots(Item &item) const;
    void deliver(const Item &item);
    void claim(Start start);
    bool claim_row();
    std::uint64_t place(Start start) const;
    void check_usable() const;
    void set_cursor(std::uint64_t to);
    void settle(std::uint64_t marey_losses::*kind, std::uint64_t n, std::uint64_t to);

    std::shared_ptr<Ring> ring_;
    std::string name_;
    Policy policy_;
    bool keep_;
    std::uint64_t owner_;
    std::size_t row_ = 0;
    marey_reader *account_ = nullptr;
    std::uint64_t cursor_ = 0, in_hand_ = 0;
    std::uint64_t lost_from_ = 0, lost_to_ = 0;
};

}  // namespace marey
