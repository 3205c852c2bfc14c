// The ring under load: threads as writer and readers, on one mapping (where ThreadSanitizer sees
// them meet) and on mappings of their own (as processes have them).
#include <thread>
#include <vector>

#include "ring_support.hpp"

using namespace marey;
using namespace marey::test;

namespace {

constexpr std::uint64_t kItems = kSanitized ? 30'000 : 300'000;

// Read until the stream ends; every item that counts as received must have been whole.
struct Tally {
    std::uint64_t good = 0, torn = 0, lost = 0;
};

Tally read_all(std::shared_ptr<Ring> ring, const std::string &name, Policy policy, std::uint64_t n) {
    Reader reader(std::move(ring), name, policy, {Start::At::oldest, 0}, false);
    Tally tally;
    Item item;
    std::uint64_t expected = reader.cursor();
    while (next(reader, item, n)) {
        if (policy == Policy::every) {
            CHECK(item.lost_from == item.lost_to || item.lost_from == expected);
            CHECK(item.seq == expected + (item.lost_to - item.lost_from));
            expected = item.seq + item.count;
        } else {
            CHECK(item.seq >= expected);
            expected = item.seq + 1;
        }
        tally.lost += item.lost_to - item.lost_from;
        const bool whole = right(reader, item);
        if (reader.release()) {
            CHECK(whole);
            tally.good += item.count;
        } else {
            tally.torn += item.count;
        }
    }
    tally.lost += item.lost_to - item.lost_from;
    expected += item.lost_to - item.lost_from;
    const marey_reader row = account(*reader.ring(), name);
    CHECK(received(row) == tally.good && row.losses.torn == tally.torn);
    CHECK(row.losses.lost == tally.lost);
    CHECK(policy == Policy::every ? row.cursor == expected : row.cursor >= expected);
    return tally;
}

void readers_of_a_free_running_writer(bool one_mapping) {
    Folder folder;
    Writer writer(folder.path(), "cam", layout(8));
    const auto ring = [&] { return one_mapping ? writer.ring() : Ring::attach(folder.path(), "cam"); };
    std::vector<Tally> tallies(4);
    std::vector<std::thread> threads;
    threads.emplace_back([&] { tallies[0] = read_all(ring(), "every", Policy::every, 1); });
    threads.emplace_back([&] { tallies[1] = read_all(ring(), "block", Policy::every, 3); });
    threads.emplace_back([&] { tallies[2] = read_all(ring(), "latest", Policy::latest, 1); });
    threads.emplace_back([&] { tallies[3] = read_all(ring(), "other", Policy::every, 1); });
    for (std::uint64_t i = 0; i < kItems; ++i) {
        const std::uint64_t n = 1 + i % 3;
        write(writer, n, 1 + i % n);
    }
    writer.close();
    for (std::thread &thread : threads) thread.join();
    for (const Tally &tally : tallies) CHECK(tally.good + tally.torn > 0);
}

void a_lossless_stream_loses_nothing(bool one_mapping) {
    Folder folder;
    Writer writer(folder.path(), "cam", layout(8, true));
    const auto ring = [&] { return one_mapping ? writer.ring() : Ring::attach(folder.path(), "cam"); };
    std::atomic<int> attached{0};
    std::vector<std::thread> threads;
    for (std::uint64_t n : {1, 2, 4}) {
        threads.emplace_back([&, n] {
            Reader reader(ring(), "r" + std::to_string(n), Policy::every, {}, false);
            attached.fetch_add(1);
            Item item;
            std::uint64_t expected = 0;
            while (next(reader, item, n)) {
                CHECK(item.seq == expected && item.lost_from == item.lost_to);
                CHECK(right(reader, item));
                CHECK(reader.release());
                expected = item.seq + item.count;
            }
            CHECK(expected == kItems);
        });
    }
    while (attached.load() < 3) std::this_thread::yield();
    // Others come at any time, and must not lose anything either from where they began.
    std::atomic<bool> over{false};
    std::thread guests([&] {
        for (int k = 0; !over.load(); ++k) {
            Reader guest(ring(), "guest", Policy::every, {Start::At::oldest, 0}, false);
            Item item;
            for (int i = 0; i < k % 20 && !over.load(); ++i) {
                if (guest.take(1, item) != Reader::Outcome::item) continue;
                CHECK(item.lost_from == item.lost_to && right(guest, item));
                CHECK(guest.release());
            }
        }
    });
    while (writer.head() < kItems) {
        const std::uint64_t n = std::min<std::uint64_t>(1 + writer.head() % 4, kItems - writer.head());
        write(writer, n, n);
    }
    over.store(true);
    guests.join();
    writer.close();
    for (std::thread &thread : threads) thread.join();
}

void places_are_taken_by_one_each() {
    Folder folder;
    Writer writer(folder.path(), "cam", layout(8));
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            const std::string name = "reader-" + std::to_string(t);
            for (int k = 0; k < (kSanitized ? 300 : 3000); ++k) {
                std::vector<std::unique_ptr<Reader>> readers;
                for (int i = 0; i < 1 + k % 15; ++i)
                    readers.push_back(std::make_unique<Reader>(writer.ring(), name, Policy::every,
                                                               Start{}, false));
                for (const auto &reader : readers) {
                    const auto row = writer.ring()->account(reader->row());
                    CHECK(row && name == row->name);
                }
            }
        });
    }
    std::thread onlooker([&] {
        for (int k = 0; k < 20'000; ++k)
            if (const auto row = writer.ring()->account(static_cast<std::size_t>(k % 64)))
                CHECK(std::string(row->name).starts_with("reader-"));
    });
    for (std::thread &thread : threads) thread.join();
    onlooker.join();
    for (std::size_t r = 0; r < MAREY_READERS; ++r) CHECK(!writer.ring()->account(r));
}

void readers_follow_writers_that_come_and_go() {
    Folder folder;
    auto writer = std::make_unique<Writer>(folder.path(), "cam", layout(8));
    std::vector<std::thread> threads;
    std::atomic<int> attached{0};
    for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            auto ring = Ring::attach(folder.path(), "cam");
            attached.fetch_add(1);
            read_all(std::move(ring), "r" + std::to_string(t), t == 2 ? Policy::latest : Policy::every, 1);
        });
    }
    while (attached.load() < 3) std::this_thread::yield();
    for (std::uint64_t k = 0; k < (kSanitized ? 100 : 1000); ++k) {
        for (int i = 0; i < 30; ++i) write(*writer);
        writer->lend(2);  // begun and never published
        const std::uint64_t head = writer->head();
        writer->close(false);
        writer = std::make_unique<Writer>(folder.path(), "cam", layout(8 + k % 3, false, 512 >> k % 2));
        CHECK(writer->head() == head);
    }
    writer->close();
    for (std::thread &thread : threads) thread.join();
    CHECK(folder.files() == 3);
}

void a_doorbell_wakes() {
    Folder folder;
    Writer writer(folder.path(), "cam", layout(8));
    Reader reader(writer.ring(), "r", Policy::every, {}, false);
    Doorbell bell;
    for (int k = 0; k < 200; ++k) {
        const std::uint32_t rung = bell.word().load();
        std::thread ringer([&] { bell.ring(); });
        while (bell.word().load() == rung) {
            const Watched words[] = {{&bell.word(), rung}, reader.watch()};
            wait_on_any(words, 2, 100'000'000);
        }
        ringer.join();
    }
}

}  // namespace

int main() {
    for (const bool one_mapping : {true, false}) {
        readers_of_a_free_running_writer(one_mapping);
        a_lossless_stream_loses_nothing(one_mapping);
    }
    places_are_taken_by_one_each();
    readers_follow_writers_that_come_and_go();
    a_doorbell_wakes();
    std::puts("the ring is sound");
}
