#include "segment.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "shared.hpp"

namespace marey {

namespace {

std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

std::uint64_t fnv1a(const void *bytes, std::size_t n, std::uint64_t hash = 14695981039346656037ull) {
    const auto *p = static_cast<const unsigned char *>(bytes);
    for (std::size_t i = 0; i < n; ++i) hash = (hash ^ p[i]) * 1099511628211ull;
    return hash;
}

std::string stem(const std::string &folder, const std::string &name) { return folder + "/" + name; }

// A file that is removed again unless it is kept.
class Made {
  public:
    explicit Made(std::string path) : path_(std::move(path)) {}
    ~Made() {
        if (!path_.empty()) ::unlink(path_.c_str());
    }
    Made(const Made &) = delete;
    Made &operator=(const Made &) = delete;
    void keep() { path_.clear(); }

  private:
    std::string path_;
};

// The number in NAME.<number>.<kind>, or nothing for any other file.
std::optional<std::uint64_t> numbered(const std::string &file, const std::string &name,
                                      const std::string &kind) {
    const std::string before = name + ".", after = "." + kind;
    if (!file.starts_with(before) || !file.ends_with(after)) return std::nullopt;
    if (file.size() <= before.size() + after.size()) return std::nullopt;
    const std::string digits =
        file.substr(before.size(), file.size() - before.size() - after.size());
    if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }))
        return std::nullopt;
    return std::strtoull(digits.c_str(), nullptr, 10);
}

}  // namespace

std::string control_path(const std::string &folder, const std::string &name) {
    return stem(folder, name) + ".ring";
}

std::string data_path(const std::string &folder, const std::string &name, std::uint64_t generation) {
    return stem(folder, name) + "." + std::to_string(generation) + ".data";
}

std::string accounts_path(const std::string &folder, const std::string &name, std::uint64_t life) {
    return stem(folder, name) + "." + std::to_string(life) + ".readers";
}

void damaged(const std::string &name, const std::string &why) {
    throw StreamFault(Fault::damaged, "stream '" + name + "': " + why);
}

std::uint64_t checksum(const marey_header &header, const std::string &spec) {
    return fnv1a(spec.data(), spec.size(), fnv1a(&header, offsetof(marey_header, checksum)));
}

Geometry checked(const marey_header &h, const std::string &name) {
    if (std::memcmp(h.magic, MAREY_MAGIC, sizeof h.magic) != 0) damaged(name, "not a marey stream");
    if (h.layout != MAREY_LAYOUT)
        damaged(name, "layout version: found " + std::to_string(h.layout) + ", expected " +
                          std::to_string(MAREY_LAYOUT));
    Geometry g;
    g.generation = h.generation;
    g.life = h.life;
    g.first = h.first;
    g.slots = h.slots;
    g.stride = h.stride;
    g.itemsize = h.itemsize;
    g.lossless = (h.flags & MAREY_LOSSLESS) != 0;
    if (h.slots == 0 || h.slots > kLimit || h.stride == 0 || h.stride % 64 != 0 ||
        h.stride > kLimit || h.slots > kLimit / h.stride || h.data_bytes != h.slots * h.stride ||
        h.data_bytes % page_size() != 0 || h.itemsize == 0 || h.itemsize > h.stride || h.ndim == 0 ||
        h.ndim > MAREY_MAX_DIMS || h.first > kLimit)
        damaged(name, "impossible sizes in its header");
    std::uint64_t elements = 1;
    for (std::uint64_t d = 0; d < h.ndim; ++d) {
        if (h.shape[d] == 0 || h.shape[d] > std::numeric_limits<std::uint32_t>::max() ||
            h.shape[d] > h.stride / elements)
            damaged(name, "impossible shape in its header");
        elements *= h.shape[d];
        g.shape.push_back(h.shape[d]);
    }
    if (elements > h.stride / h.itemsize) damaged(name, "an item does not fit its slot");
    if (h.control_bytes > kLimit || h.slots_offset > h.control_bytes ||
        h.spec_offset > h.control_bytes || h.spec_bytes > h.control_bytes - h.spec_offset ||
        h.slots > kLimit / sizeof(marey_slot) || h.slots_offset % 64 != 0 ||
        h.slots_offset < MAREY_CONTROL_OFFSET + sizeof(marey_control) ||
        h.spec_offset < h.slots_offset + h.slots * sizeof(marey_slot))
        damaged(name, "impossible offsets in its header");
    return g;
}

void check_accounts(const marey_accounts &accounts, const Geometry &geometry,
                    const std::string &name) {
    if (std::memcmp(accounts.magic, MAREY_ACCOUNTS_MAGIC, sizeof accounts.magic) != 0 ||
        accounts.layout != MAREY_LAYOUT || accounts.rows != MAREY_READERS ||
        accounts.row_bytes != sizeof(marey_reader) || accounts.life != geometry.life)
        damaged(name, "its file of readers is not of this stream");
}

Geometry planned(const Layout &layout, const std::string &name) {
    if (layout.shape.empty() || layout.shape.size() > MAREY_MAX_DIMS || layout.itemsize == 0 ||
        layout.slots == 0)
        throw StreamFault(Fault::error, "stream '" + name + "': an item needs 1 to 4 dimensions, an "
                                                            "element size and at least one slot");
    const auto too_large = [&] {
        throw StreamFault(Fault::too_large,
                          "stream '" + name + "': a ring of " + std::to_string(layout.slots) +
                              " such items is larger than any memory");
    };
    Geometry g;
    g.itemsize = layout.itemsize;
    g.shape = layout.shape;
    g.lossless = layout.lossless;
    std::uint64_t bytes = layout.itemsize;
    for (const std::uint64_t n : layout.shape) {
        if (n == 0) throw StreamFault(Fault::error, "stream '" + name + "': an item of no elements");
        if (n > std::numeric_limits<std::uint32_t>::max() || bytes > kLimit / n) too_large();
        bytes *= n;
    }
    g.stride = std::max<std::uint64_t>(64, round_up(bytes, 64));
    const std::uint64_t page = page_size();
    if (layout.slots > kLimit / g.stride) too_large();
    // The data is mapped twice in a row, hence a whole number of pages.
    g.slots = round_up(layout.slots, page / std::gcd(g.stride, page));
    return g;
}

Mapping open_file(const std::string &path, std::size_t bytes, bool twice, Access access,
                  const std::string &name) {
    try {
        return Mapping::open(path, bytes, twice, access);
    } catch (const std::system_error &error) {
        const int code = error.code().value();
        if (code == ENOENT || code == ENOTDIR)
            throw StreamFault(Fault::missing, "stream '" + name + "': there is none of that name");
        if (code == EINVAL) damaged(name, "its file is shorter than its header says");
        if (code == EISDIR || code == ENXIO || code == ELOOP) damaged(name, "not a marey stream");
        if (code == EACCES)
            throw StreamFault(Fault::error, "stream '" + name + "': it belongs to another user");
        throw StreamFault(Fault::error, "stream '" + name + "': " + error.what());
    }
}

Mapping create_file(const std::string &path, std::size_t bytes, bool twice, const std::string &name) {
    try {
        return Mapping::create(path, bytes, twice);
    } catch (const std::system_error &error) {
        const int code = error.code().value();
        if (code == EEXIST) return {};
        if (code == ENOSPC || code == ENOMEM || code == EFBIG)
            throw StreamFault(Fault::too_large, "stream '" + name + "': no room for " +
                                                    std::to_string(bytes) +
                                                    " bytes of shared memory");
        throw StreamFault(Fault::error, "stream '" + name + "': " + error.what());
    }
}

std::shared_ptr<Ring> Ring::create(const std::string &folder, const std::string &name,
                                   const Layout &layout, const Ring *before) {
    Geometry g = planned(layout, name);
    g.first = before == nullptr ? 0 : before->head();
    g.generation = before == nullptr ? 1 : before->geometry.generation + 1;

    marey_header h{};
    std::memcpy(h.magic, MAREY_MAGIC, sizeof h.magic);
    h.layout = MAREY_LAYOUT;
    h.flags = g.lossless ? MAREY_LOSSLESS : 0;
    h.first = g.first;
    h.slots = g.slots;
    h.stride = g.stride;
    h.data_bytes = g.slots * g.stride;
    h.itemsize = g.itemsize;
    h.ndim = g.shape.size();
    std::copy(g.shape.begin(), g.shape.end(), h.shape);
    h.slots_offset = round_up(MAREY_CONTROL_OFFSET + sizeof(marey_control), 4096);
    h.spec_offset = h.slots_offset + h.slots * sizeof(marey_slot);
    h.spec_bytes = layout.spec.size();
    h.control_bytes = round_up(h.spec_offset + h.spec_bytes, 4096);

    // Numbers are never used twice: what a dead or a simultaneous creator made is passed over.
    Mapping data, accounts;
    std::optional<Made> made_data, made_accounts;
    for (;; ++g.generation) {
        const std::string data_file = data_path(folder, name, g.generation);
        data = create_file(data_file, h.data_bytes, true, name);
        if (data.data() == nullptr) continue;
        made_data.emplace(data_file);
        if (before != nullptr) break;
        const std::string accounts_file = accounts_path(folder, name, g.generation);
        accounts = create_file(accounts_file, sizeof(marey_accounts), false, name);
        if (accounts.data() != nullptr) {
            made_accounts.emplace(accounts_file);
            break;
        }
    }
    g.life = before == nullptr ? g.generation : before->geometry.life;
    h.generation = g.generation;
    h.life = g.life;
    h.checksum = checksum(h, layout.spec);

    if (before != nullptr) {
        accounts = open_file(accounts_path(folder, name, g.life), sizeof(marey_accounts), false,
                             Access::write, name);
    } else {
        auto *table = reinterpret_cast<marey_accounts *>(accounts.data());
        std::memcpy(table->magic, MAREY_ACCOUNTS_MAGIC, sizeof table->magic);
        table->layout = MAREY_LAYOUT;
        table->rows = MAREY_READERS;
        table->row_bytes = sizeof(marey_reader);
        table->life = g.life;
    }

    static std::atomic<unsigned> attempts{0};
    const std::string path = control_path(folder, name);
    const std::string temporary =
        path + "." + std::to_string(self()) + "." + std::to_string(attempts.fetch_add(1)) + ".new";
    Mapping control = create_file(temporary, h.control_bytes, false, name);
    if (control.data() == nullptr)
        throw StreamFault(Fault::error, "stream '" + name + "': " + temporary + " is in the way");
    Made made_temporary(temporary);
    std::memcpy(control.data(), &h, sizeof h);
    std::memcpy(control.data() + h.spec_offset, layout.spec.data(), layout.spec.size());
    auto *line = reinterpret_cast<marey_control *>(control.data() + MAREY_CONTROL_OFFSET);
    line->head = line->begin = line->reserve = g.first;
    line->owner = self();
    if (before != nullptr) {
        // The writer of `before` is gone and we own it: nothing changes there any more.
        marey_control &old = before->control();
        line->epoch = relaxed(old.epoch);
        line->device_lost = relaxed(old.device_lost);
        line->device_repeated = relaxed(old.device_repeated);
        for (std::size_t e = 0; e < MAREY_EPOCHS; ++e) line->epochs[e] = load_words(old.epochs[e]);
    }

    // The naming is the moment at which the stream exists, whole.
    if (before == nullptr) {
        try {
            if (!link_new(temporary, path)) return nullptr;
        } catch (const std::system_error &error) {
            throw StreamFault(Fault::error, "stream '" + name + "': " + error.what());
        }
    } else {
        if (std::rename(temporary.c_str(), path.c_str()) != 0)
            throw StreamFault(Fault::error, "stream '" + name + "': cannot be named in " + folder);
        made_temporary.keep();
    }
    made_data->keep();
    if (made_accounts) made_accounts->keep();
    return std::shared_ptr<Ring>(new Ring(folder, name, layout.spec, g, std::move(control),
                                          std::move(data), std::move(accounts), h));
}

void Ring::sweep() const {
    const std::string unfinished = name + ".ring.";
    std::error_code error;
    for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string file = entry->path().filename().string();
        const auto generation = numbered(file, name, "data"), life = numbered(file, name, "readers");
        const bool stale =
            (generation && *generation != geometry.generation) || (life && *life != geometry.life) ||
            (file.starts_with(unfinished) && file.ends_with(".new") &&
             !alive(std::strtoull(file.c_str() + unfinished.size(), nullptr, 10)));
        if (stale) ::unlink(entry->path().c_str());
    }
}

}  // namespace marey
