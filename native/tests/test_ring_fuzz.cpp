// Whatever stands in a stream's files, using it ends in a value or a StreamFault; AddressSanitizer
// watches. (tests/unit/test_stream_fuzz.py does the same from Python, with the description, too.)
#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "ring_support.hpp"
#include "segment.hpp"

using namespace marey;
using namespace marey::test;

namespace {

using Bytes = std::vector<char>;

class Dice {
  public:
    explicit Dice(unsigned seed) : engine_(seed) {}
    std::uint64_t below(std::uint64_t n) { return engine_() % n; }
    bool one_in(std::uint64_t n) { return below(n) == 0; }
    std::uint64_t word(std::uint64_t before) {
        const std::uint64_t extremes[] = {0, 1, 2, 3, 64, 4096, 1ull << 31, 1ull << 32, 1ull << 46,
                                          1ull << 62, 1ull << 63, ~0ull - 1, ~0ull};
        switch (below(3)) {
        case 0: return extremes[below(std::size(extremes))];
        case 1: return engine_();
        default: return before + below(129) - 64;
        }
    }

  private:
    std::mt19937_64 engine_;
};

Bytes read(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

void spoil(Bytes &bytes, std::size_t from, std::size_t to, Dice &dice) {
    for (std::uint64_t n = 1 + dice.below(dice.one_in(4) ? 30 : 3); n > 0; --n) {
        const std::size_t at = from + dice.below((to - from) / 8) * 8;
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, 8);
        word = dice.word(word);
        std::memcpy(bytes.data() + at, &word, 8);
    }
}

// The checksum made right, so that what lies behind it is reached.
void seal(Bytes &bytes) {
    marey_header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.spec_offset > bytes.size() || header.spec_bytes > bytes.size() - header.spec_offset) return;
    header.checksum = checksum(header, std::string(bytes.data() + header.spec_offset, header.spec_bytes));
    std::memcpy(bytes.data(), &header, sizeof header);
}

void prepare(const std::string &folder, Dice &dice) {
    const bool lossless = dice.one_in(3);
    Writer writer(folder, "cam", layout(64, lossless, 8));
    Item item;
    for (int i = 0; i < 3; ++i) {
        Reader reader(writer.ring(), "r" + std::to_string(i), i == 2 ? Policy::latest : Policy::every,
                      {}, i % 2 == 0);
        for (std::uint64_t n = dice.below(80); n > 0; --n)
            if (writer.lend(1) != nullptr) write(writer);
        reader.take(1, item);
    }
    writer.close(dice.one_in(2));
    const bool table = dice.one_in(4);
    const std::string path = folder + (table ? "/cam.1.readers" : "/cam.ring");
    Bytes bytes = read(path);
    if (table) {
        spoil(bytes, dice.one_in(5) ? 0 : 64, bytes.size(), dice);
    } else {
        const std::size_t slots = reinterpret_cast<const marey_header *>(bytes.data())->slots_offset;
        switch (dice.below(4)) {
        case 0: spoil(bytes, 16, sizeof(marey_header) - 8, dice); break;
        case 1: spoil(bytes, MAREY_CONTROL_OFFSET, MAREY_CONTROL_OFFSET + sizeof(marey_control), dice); break;
        case 2: spoil(bytes, slots, bytes.size() - 64, dice); break;
        default: spoil(bytes, 0, bytes.size() - 8, dice);
        }
        if (!dice.one_in(5)) seal(bytes);
    }
    if (dice.one_in(20)) bytes.resize(dice.below(bytes.size()));
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::uint64_t touch(const Ring &ring, std::uint64_t seq, std::uint64_t count) {
    const Geometry &g = ring.geometry;
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count * g.stride; i += 64)
        sum += static_cast<std::uint64_t>(ring.slot_data(seq)[i]);
    return sum;
}

std::uint64_t use(const std::string &folder, unsigned what, Dice &dice) {
    if (what == 0) {
        Writer writer(folder, "cam", layout(64, dice.one_in(3), 8));
        for (int i = 0; i < 100 && writer.lend(1) != nullptr; ++i) write(writer);
        return writer.head();
    }
    if (what == 1) return end_stream(folder, "cam");
    const auto ring = Ring::attach(folder, "cam");
    if (what == 2) {
        std::uint64_t sum = 0;
        for (std::size_t r = 0; r < MAREY_READERS; ++r) sum += ring->account(r).has_value();
        for (const std::uint64_t seq : {std::uint64_t{0}, ring->oldest(), ring->head() - 1, UINT64_MAX})
            if (ring->look(seq)) sum += touch(*ring, seq, 1);
        ring->sweep();
        return sum;
    }
    const auto policy = what == 3 ? Policy::latest : Policy::every;
    const Start starts[] = {{}, {Start::At::oldest, 0}, {Start::At::back, 1'000'000'000}};
    Reader reader(ring, "r" + std::to_string(dice.below(4)), policy, starts[dice.below(3)], dice.one_in(2));
    const std::uint64_t n = what == 5 ? 1 + dice.below(ring->geometry.most()) : 1;
    Item item;
    std::uint64_t sum = 0;
    for (int i = 0; i < 20; ++i) {
        if (reader.take(n, item) != Reader::Outcome::item) break;
        sum += touch(*ring, item.seq, item.count);
        reader.release();
        reader.ready(n);
    }
    return sum;
}

}  // namespace

int main() {
    ::alarm(250);  // a hang is a failure
    Folder folder;
    std::uint64_t fine = 0, refused = 0, sum = 0;
    for (unsigned seed = 0; seed < 4000; ++seed) {
        Dice dice(seed);
        prepare(folder.path(), dice);
        unsigned todo[] = {0, 1, 2, 3, 4, 5};
        std::shuffle(std::begin(todo), std::end(todo), std::mt19937(seed));
        for (const unsigned what : todo) {
            try {
                sum += use(folder.path(), what, dice);
                ++fine;
            } catch (const StreamFault &) {
                ++refused;
            }
        }
        folder.clear();
    }
    std::printf("%llu uses were fine, %llu refused (%llu)\n", static_cast<unsigned long long>(fine),
                static_cast<unsigned long long>(refused), static_cast<unsigned long long>(sum % 10));
    CHECK(fine > 4000 && refused > 1000);
}
