// What the tests of the ring share: a folder of their own, items whose every word says their number.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <unistd.h>

#include "marey/reader.hpp"
#include "marey/writer.hpp"
#include "shared.hpp"

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                        \
            std::abort();                                                                          \
        }                                                                                          \
    } while (false)

namespace marey::test {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// A folder that is removed again.
class Folder {
  public:
    Folder() {
        std::string name = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        name += "/marey-native-XXXXXX";
        CHECK(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;

    const std::string &path() const { return path_; }
    void clear() const {
        for (const auto &entry : std::filesystem::directory_iterator(path_))
            std::filesystem::remove(entry.path());
    }
    std::size_t files() const {
        std::size_t n = 0;
        for ([[maybe_unused]] const auto &entry : std::filesystem::directory_iterator(path_)) ++n;
        return n;
    }

  private:
    std::string path_;
};

constexpr std::uint64_t kWords = 512;  // one page, so that a ring has as many slots as asked for

inline Layout layout(std::uint64_t slots, bool lossless = false, std::uint64_t words = kWords) {
    return {{words}, 8, slots, lossless, "{}"};
}

// Pixels are the one intended race. Relaxed atomics instead of a memcpy keep ThreadSanitizer's
// sight on everything else.
inline void fill(std::byte *item, std::uint64_t seq, std::uint64_t words = kWords) {
    auto *pixels = reinterpret_cast<std::uint64_t *>(item);
    for (std::uint64_t i = 0; i < words; ++i) set_relaxed(pixels[i], seq);
}

inline bool holds(const std::byte *item, std::uint64_t seq, std::uint64_t words = kWords) {
    auto *pixels = reinterpret_cast<std::uint64_t *>(const_cast<std::byte *>(item));
    bool good = true;
    for (std::uint64_t i = 0; i < words; ++i) good &= relaxed(pixels[i]) == seq;
    return good;
}

inline marey_stamp stamp() {
    marey_stamp stamp{};
    stamp.source_seq = stamp.device_frame = MAREY_UNKNOWN;
    stamp.device_time = MAREY_UNKNOWN_TIME;
    return stamp;
}

// Lend n, waiting as long as it takes, and publish m of them.
inline void write(Writer &writer, std::uint64_t n = 1, std::uint64_t m = 1) {
    std::byte *item = writer.lend(n);
    while (item == nullptr) {
        const Watched space = writer.watch();
        if ((item = writer.lend(n)) == nullptr) wait_on(space.word, space.expected, 100'000'000);
    }
    const Geometry &g = writer.ring()->geometry;
    for (std::uint64_t i = 0; i < m; ++i)
        fill(item + i * g.stride, writer.head() + i, g.shape[0]);
    const std::vector<marey_stamp> stamps(m, stamp());
    writer.publish(m, stamps.data(), nullptr);
}

// Take the next item, following to another segment and waiting as long as it takes; false at the end.
inline bool next(Reader &reader, Item &item, std::uint64_t n = 1) {
    for (;;) {
        switch (reader.take(n, item)) {
        case Reader::Outcome::item: return true;
        case Reader::Outcome::closed: return false;
        case Reader::Outcome::replaced:
            reader.follow(Ring::attach(reader.ring()->folder, reader.ring()->name));
            continue;
        case Reader::Outcome::nothing: break;
        }
        const Watched watched = reader.watch();
        if (!reader.ready(n)) wait_on(watched.word, watched.expected, 100'000'000);
    }
}

// Whether all words of the items say their numbers.
inline bool right(const Reader &reader, const Item &item) {
    const Ring &ring = *reader.ring();
    bool good = item.slot.stamp.seq == item.seq;
    for (std::uint64_t i = 0; i < item.count; ++i)
        good &= holds(ring.slot_data(item.seq) + i * ring.geometry.stride, item.seq + i,
                      ring.geometry.shape[0]);
    return good;
}

inline const marey_reader account(const Ring &ring, const std::string &name) {
    for (std::size_t r = 0; r < MAREY_READERS; ++r)
        if (const auto row = ring.account(r); row && name == row->name) return *row;
    std::fprintf(stderr, "no account of '%s'\n", name.c_str());
    std::abort();
}

inline std::uint64_t received(const marey_reader &row) {
    return row.cursor - row.start - row.losses.lost - row.losses.torn - row.losses.skipped;
}

}  // namespace marey::test
