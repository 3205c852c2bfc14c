// The writing side of a ring.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "marey/ring.hpp"

namespace marey {

// Not for use by several threads at once, and not by a fork: only the process that made it.
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
    // Memory for the next n items, contiguous in steps of the stride; nullptr where a lossless
    // stream's readers have not made room.
    std::byte *lend(std::uint64_t n);
    // Prepare to sleep until they have: the word and what it holds; lend must be tried afterwards.
    Watched watch() const;
    // Publish the first n of the items that were lent. `seq`, `published` and, where they are 0,
    // `host_time` and `mono_time` are filled in; `shape` null means the full shape.
    void publish(std::uint64_t n, const marey_stamp *stamps, const std::uint32_t *shape);
    void account(std::uint64_t device_lost, std::uint64_t device_repeated);
    void heartbeat();
    // The row that a lossless writer waits for, if any.
    std::optional<std::size_t> laggard() const { return laggard_; }
    // End the stream; with `ended` false only hand it over: its readers wait for the next writer.
    void close(bool ended = true);

  private:
    void begin_writing();
    void check_usable() const;
    bool room(std::uint64_t n);

    std::shared_ptr<Ring> ring_;
    std::uint64_t owner_ = 0, head_ = 0, lent_ = 0, epoch_ = 0;
    bool open_ = false;
    std::optional<std::size_t> laggard_;
    // Since when the readers that hold up a lossless stream are gone.
    struct Absence {
        std::uint64_t owner = 0;
        std::int64_t since = 0;
    };
    std::array<Absence, MAREY_READERS> absences_{};
};

}  // namespace marey
