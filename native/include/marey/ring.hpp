// A stream's ring in shared memory: one writer, many readers, no locks.
#pragma once

#include <atomic>
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
    std::uint64_t generation = 0, life = 0, first = 0;
    std::uint64_t slots = 0, stride = 0, itemsize = 0;
    Shape shape;
    bool lossless = false;
    std::uint64_t item_bytes() const;
    // How many items may be lent, or read as a block, at a time. In a lossless stream the two must
    // fit the ring together, or writer and reader could wait for each other.
    std::uint64_t most() const { return lossless ? (slots + 1) / 2 : slots; }
};

// What a writer asks for; the ring has at least so many slots, rounded up to whole pages.
struct Layout {
    Shape shape;
    std::uint64_t itemsize = 0, slots = 0;
    bool lossless = false;
    std::string spec;
};

// An attached segment.
class Ring {
  public:
    static std::shared_ptr<Ring> attach(const std::string &folder, const std::string &name,
                                        Access data = Access::read);
    // Make a segment, to follow `before` where there is one. Nothing where another process made the
    // stream at the same time.
    static std::shared_ptr<Ring> create(const std::string &folder, const std::string &name,
                                        const Layout &layout, const Ring *before);
    // Remove what dead writers of this stream left: files that belong to no segment.
    void sweep() const;

    const std::string folder, name, spec;
    const Geometry geometry;
    const std::shared_ptr<Mapping> data;

    std::byte *slot_data(std::uint64_t seq) const {
        return data->data() + seq % geometry.slots * geometry.stride;
    }
    marey_control &control() const { return *control_; }
    marey_slot &slot(std::uint64_t seq) const { return slots_[seq % geometry.slots]; }
    marey_accounts &accounts() const { return *accounts_; }
    FileId id() const { return control_map_.id(); }
    FileId accounts_id() const { return accounts_map_.id(); }
    // The account in that row, all of one reader; nothing where there is none.
    std::optional<marey_reader> account(std::size_t row) const;

    std::uint64_t head() const;
    std::uint64_t oldest() const;
    // Whether item `seq`, looked at before this call, had not been overwritten.
    bool intact(std::uint64_t seq) const;
    std::uint32_t state() const;
    // The item's stamps and shape, or nothing where it is not (or no longer) in the ring.
    std::optional<marey_slot> look(std::uint64_t seq) const;
    // Whether the stream's name still leads here.
    bool named() const;
    // The same, looked up every 100 ms only, and true where a successor said so: what a dead writer
    // left undone, or the removal of the stream, is found by those who wait.
    bool superseded() const;

  private:
    Ring(std::string folder, std::string name, std::string spec, Geometry geometry, Mapping control,
         Mapping data, Mapping accounts, const marey_header &header);

    Mapping control_map_, accounts_map_;
    marey_control *control_;
    marey_slot *slots_;
    marey_accounts *accounts_;
    mutable std::atomic<std::int64_t> looked_{0};
    mutable std::atomic<bool> superseded_{false};
};

// Tell the readers that sleep on a segment that something changed.
void wake_readers(marey_control &control);

// Mark a stream whose writer is gone as ended, so that its readers finish. False if it is alive.
bool end_stream(const std::string &folder, const std::string &name);

// A word on which those who wait for readers can be woken as well.
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

}  // namespace marey
