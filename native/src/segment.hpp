// The files of a stream: their names, and a header that may hold anything.
#pragma once

#include <cstdint>
#include <string>

#include "marey/ring.hpp"

namespace marey {

constexpr std::int64_t kBound = 100'000'000;  // a lost wake-up costs at most this, ns
constexpr std::uint64_t kLimit = std::uint64_t{1} << 46;  // bytes of anything; sums cannot overflow

std::string control_path(const std::string &folder, const std::string &name);
std::string data_path(const std::string &folder, const std::string &name, std::uint64_t generation);
std::string accounts_path(const std::string &folder, const std::string &name, std::uint64_t life);

[[noreturn]] void damaged(const std::string &name, const std::string &why);

std::uint64_t checksum(const marey_header &header, const std::string &spec);
// The geometry of a header, or a fault that says what is wrong with it.
Geometry checked(const marey_header &header, const std::string &name);
void check_accounts(const marey_accounts &accounts, const Geometry &geometry, const std::string &name);
// The geometry of a new segment, or a fault that says what is wrong with the layout.
Geometry planned(const Layout &layout, const std::string &name);

// Mapping::open and create with faults in place of system errors.
Mapping open_file(const std::string &path, std::size_t bytes, bool twice, Access access,
                  const std::string &name);
// Nothing mapped where the file exists already.
Mapping create_file(const std::string &path, std::size_t bytes, bool twice, const std::string &name);

}  // namespace marey
