// A stream's ring in shared memory: one writer, many readers, no locks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "marey/platform.hpp"
#include "marey/ring.h"

namespace marey {

enum class Fault { error, missing, closed, damaged, too_large };

class StreamFault : public std::runtime_error {
  public:
    StreamFault(Fault kind, const std::string &what) : std::runtime_error(what), kind(kind) {}
    const Fault kind;
};

using Shape = std::vector<std::uint64_t>;

// What the header says, checked once at attach; the shared copy is never trusted again.
struct Geometry {
    std::uint64_t generation = 0, slots = 0, stride = 0, itemsize = 0, first = 0;
    Shape shape;
    bool lossless = false;
    std::uint64_t item_bytes() const;
};

// An attached segment.
class Ring {
  public:
    Ring(std::string folder, std::string name, Mapping control, Mapping data, Geometry geometry,
         std::string spec);
    static std::shared_ptr<Ring> attach(const std::string &folder, const std::string &name,
                                        bool writable_data = false);

    const std::string folder, name, spec;
    const Geometry geometry;
    const std::shared_ptr<Mapping> data;

    std::byte *slot_data(std::uint64_t seq) const {
        return data->data() + seq % geometry.slots * geometry.stride;
    }
    marey_control &control() const { return *control_; }
    marey_reader &reader(std::size_t row) const { return readers_[row]; }
    marey_slot &slot(std::uint64_t seq) const { return slots_[seq % geometry.slots]; }

    std::uint64_t head() const;
    std::uint64_t oldest() const;
    // Whether item `seq`, looked at before this call, had not been overwritten.
    bool intact(std::uint64_t seq) const;
    std::uint32_t state() const;
    // The item's stamps and shape, or nothing where it is not (or no longer) in the ring.
    std::optional<marey_slot> look(std::uint64_t seq) const;

  private:
    Mapping control_map_;
    marey_control *control_;
    marey_reader *readers_;
    marey_slot *slots_;
};

struct Layout {
    Shape shape;
    std::uint64_t itemsize = 0, slots = 0;
    bool lossless = false;
    std::string spec;
};

class Writer {
  public:
    // Create the stream, resume one that a dead or closed writer left, or replace one of another
    // layout, continuing its numbers.
    Writer(const std::string &folder, const std::string &name, const Layout &layout);
    ~Writer();
    Writer(const Writer &) = delete;
    Writer &operator=(const Writer &) = delete;

    const std::shared_ptr<Ring> &ring() const { return ring_; }
    std::uint64_t head() const { return head_; }
    bool open() const { return open_; }

    // Memory for the next n items, contiguous in steps of the stride. In a lossless stream waits
    // until the readers have made room; nullptr when the time is over.
    std::byte *lend(std::uint64_t n, std::int64_t timeout_ns);
    // Publish the first n of the items that were lent. `seq`, `published` and, where they are 0,
    // `host_time` and `mono_time` are filled in; `shape` null means the full shape.
    void publish(std::uint64_t n, const marey_stamp *stamps, const std::uint32_t *shape);
    void account(std::uint64_t device_lost, std::uint64_t device_repeated);
    void heartbeat();
    // The row that a lossless writer waits for, if any.
    std::optional<std::size_t> laggard() const { return laggard_; }
    void close();

  private:
    void wake();
    bool room(std::uint64_t n);
    std::shared_ptr<Ring> ring_;
    std::uint64_t head_ = 0, epoch_ = 0;
    bool open_ = false;
    std::optional<std::size_t> laggard_;
    std::array<std::int64_t, MAREY_READERS> dead_since_{};
};

enum class Policy : std::uint32_t { every = MAREY_EVERY, latest = MAREY_LATEST };

struct Item {
    std::uint64_t seq = 0, count = 0;
    std::uint64_t lost_from = 0, lost_to = 0;
    std::vector<marey_slot> more;  // slots 1.. of a block
    marey_slot slot{};
};

// Where a reader begins: at the next item, at the oldest kept, some time back, or at an item.
struct Start {
    enum class At { now, oldest, back, seq } at = At::now;
    std::int64_t value = 0;
};

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
    // Settle the item in hand, then take the next n (fewer at the end of a closed stream).
    Outcome take(std::uint64_t n, Item &item);
    // Settle the item in hand: it counts as received if it is still intact, else as torn.
    bool release();
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
    Outcome ended() const;
    bool copy_slots(Item &item) const;
    void deliver(const Item &item);
    void claim(const std::string &name, Start start, bool keep);
    void set_cursor(std::uint64_t to);

    std::shared_ptr<Ring> ring_;
    std::string name_;
    Policy policy_;
    bool keep_;
    std::size_t row_ = 0;
    marey_reader *account_ = nullptr;
    std::uint64_t cursor_ = 0, in_hand_ = 0;
    std::uint64_t lost_from_ = 0, lost_to_ = 0;
};

// Wait until a reader has something, the doorbell rings, or the time is over.
class Doorbell {
  public:
    void ring() {
        word_.fetch_add(1, std::memory_order_release);
        wake_all(&word_);
    }
    std::atomic<std::uint32_t> &word() { return word_; }

  private:
    std::atomic<std::uint32_t> word_{0};
};

// Mark a stream whose writer is gone as ended, so that its readers finish. False if it is alive.
bool end_stream(const std::string &folder, const std::string &name);

}  // namespace marey
