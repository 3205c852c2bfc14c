// Killed at any instruction: a process does something to a stream, one machine instruction at a
// time, and is killed after the first k; then the others must find everything in order. This is done
// for each thing that writers and readers do, and many k.
#include "ring_support.hpp"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <csignal>
#include <functional>
#include <random>
#include <sys/ptrace.h>
#include <sys/wait.h>

using namespace marey;
using namespace marey::test;

namespace {

constexpr std::uint64_t kSmall = 8;        // words of an item: few instructions to fill
constexpr std::uint64_t kSlots = 64;       // the fewest that items of 64 bytes allow
constexpr std::uint64_t kBefore = 100;     // items published before

Layout small(bool lossless = false) { return layout(kSlots, lossless, kSmall); }

// One thing to be killed in.
struct Scenario {
    const char *name;
    std::function<void(const std::string &)> prepare;  // by this process, before
    std::function<void(const std::string &)> begin;    // by the one to be killed, before it counts
    std::function<void()> act;                         // what is cut short
    std::function<void(const std::string &)> check;    // by this process, afterwards
};

// Run the scenario's act for `steps` instructions and kill it; how many it took if it ended.
std::uint64_t cut_short(const Scenario &scenario, const std::string &folder, std::uint64_t steps,
                        bool &ended) {
    const pid_t pid = ::fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        scenario.begin(folder);
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        ::raise(SIGSTOP);
        scenario.act();
        ::_exit(0);
    }
    int status = 0;
    CHECK(::waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
    std::uint64_t done = 0;
    for (; done < steps; ++done) {
        CHECK(::ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr) == 0);
        CHECK(::waitpid(pid, &status, 0) == pid);
        if (!WIFSTOPPED(status)) break;
    }
    ended = !WIFSTOPPED(status);
    if (!ended) {
        ::kill(pid, SIGKILL);
        CHECK(::waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    } else {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return done;
}

// How many instructions to step through in each scenario, shared out among its kills.
std::uint64_t budget = 50'000;

void run(const Scenario &scenario) {
    Folder folder;
    bool ended = false;
    scenario.prepare(folder.path());
    const std::uint64_t length = cut_short(scenario, folder.path(), UINT64_MAX, ended);
    scenario.check(folder.path());
    folder.clear();
    // The short ones are those in which single instructions count: every second one of them.
    const std::uint64_t mine = length < 1000 ? 3 * budget : budget;
    const std::uint64_t samples = std::max<std::uint64_t>(5, 2 * mine / length);
    const std::uint64_t stride = std::max<std::uint64_t>(1, length / samples);
    std::uint64_t kills = 0;
    // Another beginning each time, so that in the long run every instruction has its turn.
    for (std::uint64_t k = std::random_device()() % stride; k < length; k += stride) {
        scenario.prepare(folder.path());
        cut_short(scenario, folder.path(), k, ended);
        scenario.check(folder.path());
        folder.clear();
        ++kills;
    }
    std::printf("%-28s %6llu instructions, killed at %llu of them\n", scenario.name,
                static_cast<unsigned long long>(length), static_cast<unsigned long long>(kills));
    std::fflush(stdout);
}

// A stream with a history, and one who has seen it all.
std::unique_ptr<Reader> observer;

void prepare(const std::string &folder, bool lossless = false) {
    observer.reset();
    Writer writer(folder, "cam", small(lossless));
    Item item;
    observer = std::make_unique<Reader>(Ring::attach(folder, "cam"), "observer", Policy::every,
                                        Start{}, false);
    for (std::uint64_t i = 0; i < kBefore; ++i) {
        write(writer);
        CHECK(observer->take(1, item) == Reader::Outcome::item);
    }
    observer->release();
    writer.close(false);
}

// What a dead writer had begun to overwrite is refused; what is given is whole.
void check_items(const Ring &ring) {
    for (std::uint64_t seq = ring.oldest(); seq < ring.head(); ++seq)
        CHECK(ring.look(seq) && holds(ring.slot_data(seq), seq, ring.geometry.shape[0]));
}

// Whatever happened, another writer goes on, and the observer sees every item once and whole.
void check_stream(const std::string &folder, const Layout &as, std::uint64_t least,
                  std::uint64_t most) {
    Writer writer(folder, "cam", as);
    CHECK(writer.head() >= least && writer.head() <= most);
    check_items(*writer.ring());
    for (int i = 0; i < 3; ++i) write(writer);
    const std::uint64_t head = writer.head();
    writer.close();
    Item item;
    std::uint64_t expected = kBefore;
    while (next(*observer, item)) {
        CHECK(item.seq == expected && item.lost_from == item.lost_to);
        CHECK(right(*observer, item));
        CHECK(observer->release());
        ++expected;
    }
    CHECK(expected == head && item.lost_from == item.lost_to);
    check_items(*writer.ring());
    std::size_t files = 0;
    for ([[maybe_unused]] const auto &entry : std::filesystem::directory_iterator(folder)) ++files;
    CHECK(files == 3);
}

std::unique_ptr<Writer> dying_writer;
std::unique_ptr<Reader> dying_reader;
std::string place;

void writers() {
    const auto resume = [](const std::string &folder) {
        dying_writer = std::make_unique<Writer>(folder, "cam", small());
    };
    const auto nothing = [](const std::string &folder) { place = folder; };
    const auto same = [](std::uint64_t more) {
        return [more](const std::string &folder) {
            check_stream(folder, small(), kBefore, kBefore + more);
        };
    };
    run({"write an item", [](auto &f) { prepare(f); }, resume, [] { write(*dying_writer); }, same(1)});
    run({"write three, lend five", [](auto &f) { prepare(f); }, resume, [] { write(*dying_writer, 5, 3); },
         same(3)});
    run({"end the stream", [](auto &f) { prepare(f); }, resume, [] { dying_writer->close(); }, same(0)});
    run({"take a stream over", [](auto &f) { prepare(f); }, nothing,
         [] { new Writer(place, "cam", small()); }, same(0)});
    const auto other = layout(32, false, 16);
    run({"replace a stream", [](auto &f) { prepare(f); }, nothing,
         [other] { write(*new Writer(place, "cam", other)); },
         [other](auto &f) { check_stream(f, other, kBefore, kBefore + 1); }});
    run({"replace it, and back again", [](auto &f) { prepare(f); }, nothing,
         [other] { write(*new Writer(place, "cam", other)); },
         [](auto &f) {
             // The next writer does not even want that layout. An item that the dead one published
             // goes with its segment; then the observer learns of it.
             const std::uint64_t head = Ring::attach(f, "cam")->head();
             Writer writer(f, "cam", small());
             write(writer);
             Item item;
             CHECK(next(*observer, item) && item.seq == head);
             CHECK(item.lost_to - item.lost_from == head - kBefore);
             CHECK(right(*observer, item));
         }});
    run({"create a stream", [](auto &) { observer.reset(); }, nothing,
         [] { write(*new Writer(place, "cam", small())); },
         [](auto &f) {
             Writer writer(f, "cam", small());
             CHECK(writer.head() <= 1);
             write(writer);
             Reader reader(writer.ring(), "r", Policy::every, {Start::At::oldest, 0}, false);
             Item item;
             for (std::uint64_t seq = 0; seq < writer.head(); ++seq)
                 CHECK(next(reader, item) && item.seq == seq && right(reader, item));
             std::size_t files = 0;
             for ([[maybe_unused]] const auto &e : std::filesystem::directory_iterator(f)) ++files;
             CHECK(files == 3);
         }});
}

// ------------------------------------------------------------ readers

void prepare_reader(const std::string &folder, std::uint64_t unread) {
    prepare(folder);
    {
        Reader reader(Ring::attach(folder, "cam"), "node", Policy::every, {}, true);
    }
    Writer writer(folder, "cam", small());
    for (std::uint64_t i = 0; i < unread; ++i) write(writer);
    writer.close(false);
}

const auto resume_reader = [](const std::string &folder) {
    dying_reader = std::make_unique<Reader>(Ring::attach(folder, "cam"), "node", Policy::every,
                                            Start{}, true);
};

// The next of that name goes on; in the end the account says exactly what happened, whenever the
// one before died.
void check_account(const std::string &folder, std::uint64_t lost, std::uint64_t torn) {
    const auto ring = Ring::attach(folder, "cam");
    CHECK(end_stream(folder, "cam"));
    {
        Reader reader(ring, "node", Policy::every, {}, true);
        Item item;
        std::uint64_t expected = reader.cursor();
        while (next(reader, item)) {
            CHECK(item.seq == expected + (item.lost_to - item.lost_from));
            CHECK(right(reader, item));
            expected = item.seq + 1;
        }
        CHECK(expected == ring->head());
    }
    const marey_reader row = account(*ring, "node");
    CHECK(row.start == kBefore && row.cursor == ring->head());
    CHECK(row.losses.lost + row.losses.torn == lost + torn);
    CHECK(row.losses.torn <= torn && row.losses.skipped == 0);
    CHECK(received(row) == ring->head() - kBefore - lost - torn);
    // No place is lost: one is the account, one the observer's, the rest are free.
    std::vector<std::unique_ptr<Reader>> others;
    for (std::size_t i = 2; i < MAREY_READERS; ++i)
        others.push_back(std::make_unique<Reader>(ring, "other", Policy::every, Start{}, false));
}

void readers() {
    Item item;
    run({"read an item", [](auto &f) { prepare_reader(f, 5); }, resume_reader,
         [&item] {
             CHECK(dying_reader->take(1, item) == Reader::Outcome::item);
             CHECK(dying_reader->release());
         },
         [](auto &f) { check_account(f, 0, 0); }});
    run({"read blocks", [](auto &f) { prepare_reader(f, 20); }, resume_reader,
         [&item] {
             for (int i = 0; i < 3; ++i) dying_reader->take(4, item);
             dying_reader->leave();
         },
         [](auto &f) { check_account(f, 0, 0); }});
    // 300 unread items: the ring keeps 64, and reading resumes in its middle.
    run({"be lapped", [](auto &f) { prepare_reader(f, 300); }, resume_reader,
         [&item] {
             CHECK(dying_reader->take(1, item) == Reader::Outcome::item);
             CHECK(item.lost_from == kBefore && item.lost_to == kBefore + 268);
             dying_reader->release();
         },
         [](auto &f) { check_account(f, 268, 0); }});
    run({"hold an item too long", [](auto &f) { prepare_reader(f, 5); },
         [&item](const std::string &folder) {
             resume_reader(folder);
             dying_reader->take(1, item);
             Writer writer(folder, "cam", small());
             for (std::uint64_t i = 5; i < kSlots + 1; ++i) write(writer);
             writer.close(false);
         },
         [&item] {
             CHECK(!dying_reader->release());
             CHECK(dying_reader->take(1, item) == Reader::Outcome::item && item.seq == kBefore + 1);
         },
         // Killed before it settled the torn item, the next reader finds it overwritten, with all
         // up to the middle of the ring; afterwards it has lost just the one.
         [](auto &f) {
             const std::uint64_t at = account(*Ring::attach(f, "cam"), "node").cursor;
             CHECK(at == kBefore || at == kBefore + 1);
             if (at == kBefore) check_account(f, 33, 0);
             else check_account(f, 0, 1);
         }});
    run({"attach and leave", [](auto &f) { prepare(f); place = f; },
         [](const std::string &) {},
         [] {
             Reader reader(observer->ring(), "guest", Policy::every, {Start::At::oldest, 0}, false);
         },
         [](auto &f) {
             const auto ring = Ring::attach(f, "cam");
             std::vector<std::unique_ptr<Reader>> others;
             for (std::size_t i = 1; i < MAREY_READERS; ++i)
                 others.push_back(std::make_unique<Reader>(ring, "other", Policy::every, Start{}, false));
             check_stream(f, small(), kBefore, kBefore);
         }});
    run({"attach to a lossless one", [](auto &f) { prepare(f, true); place = f; },
         [](const std::string &) {},
         [] { new Reader(observer->ring(), "guest", Policy::every, {Start::At::oldest, 0}, false); },
         [](auto &f) { check_stream(f, small(true), kBefore, kBefore); }});
    run({"attach as a node", [](auto &f) { prepare(f); place = f; },
         [](const std::string &) {},
         [] { new Reader(observer->ring(), "node", Policy::every, {Start::At::oldest, 0}, true); },
         [](auto &f) {
             const auto ring = Ring::attach(f, "cam");
             Reader reader(ring, "node", Policy::every, {Start::At::oldest, 0}, true);
             const marey_reader row = account(*ring, "node");
             CHECK(row.start == kBefore - kSlots && row.cursor == row.start && row.keep == 1);
             CHECK(received(row) == 0);
         }});
}

}  // namespace

// With an argument: so many instructions a scenario; a few millions kill at every one.
int main(int count, char **arguments) {
    if (count > 1) budget = std::strtoull(arguments[1], nullptr, 10);
    if (kSanitized) {
        std::puts("sanitizers do not stand single steps: skipped");
        return 0;
    }
    writers();
    readers();
    observer.reset();
}

#else
int main() { std::puts("no single steps here: skipped"); }
#endif
