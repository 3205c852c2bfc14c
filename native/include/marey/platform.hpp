// What differs between operating systems: mappings, waiting on a word, who is alive, clocks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace marey {

// Which file a path leads to, or a mapping came from.
struct FileId {
    std::uint64_t device = 0, number = 0;
    bool operator==(const FileId &) const = default;
};

// The file at the path; all zero where there is none.
FileId file_at(const std::string &path);

// To look at single items now and then, to read all of them, or to write: who reads or writes has
// every page mapped at once, as the first touch of a page costs more than many frames may wait.
enum class Access { look, read, write };

// A file mapped into memory; the mapping lives as long as the object.
class Mapping {
  public:
    Mapping() = default;
    ~Mapping();
    Mapping(Mapping &&other) noexcept;
    Mapping &operator=(Mapping &&other) noexcept;
    Mapping(const Mapping &) = delete;
    Mapping &operator=(const Mapping &) = delete;

    // Create (exclusively, mode 0600, memory reserved) or open a file of `bytes`; with `twice` it is
    // mapped two times back to back. Throws std::system_error.
    static Mapping create(const std::string &path, std::size_t bytes, bool twice);
    static Mapping open(const std::string &path, std::size_t bytes, bool twice, Access access);

    std::byte *data() const { return base_; }
    std::size_t bytes() const { return bytes_; }
    // While it is mapped no other file can have the same identity.
    FileId id() const { return id_; }

  private:
    static Mapping map(int file, std::size_t bytes, bool twice, Access access);
    std::byte *base_ = nullptr;
    std::size_t bytes_ = 0;
    std::size_t reserved_ = 0;
    FileId id_;
};

std::size_t page_size();

// Give `from` the name `to` as well, unless `to` exists: then false. Throws std::system_error.
bool link_new(const std::string &from, const std::string &to);

// Sleep until *word != expected, a wake, or the time is over. Spurious returns are allowed.
void wait_on(std::atomic<std::uint32_t> *word, std::uint32_t expected, std::int64_t timeout_ns);
void wake_all(std::atomic<std::uint32_t> *word);

// Sleep until any of the words differs from what is expected of it.
struct Watched {
    std::atomic<std::uint32_t> *word;
    std::uint32_t expected;
};
void wait_on_any(const Watched *words, std::size_t count, std::int64_t timeout_ns);

// This process as pid << 32 | start time, and whether the process so named still lives. Where that
// cannot be told (no descriptors left), it counts as alive: taking from the living is worse.
std::uint64_t self();
bool alive(std::uint64_t owner);

std::int64_t mono_ns();
std::int64_t unix_ns();
// Sleep until CLOCK_MONOTONIC reaches the time; returns early on a signal.
void sleep_until(std::int64_t mono);

}  // namespace marey
