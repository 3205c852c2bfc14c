#include "marey/platform.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <optional>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#ifdef __APPLE__
#include <libproc.h>
#include <signal.h>
#endif

namespace marey {

namespace {

[[noreturn]] void fail(const std::string &what) {
    throw std::system_error(errno, std::generic_category(), what);
}

class File {
  public:
    explicit File(int fd) : fd_(fd) {}
    ~File() { ::close(fd_); }
    File(const File &) = delete;
    File &operator=(const File &) = delete;
    int fd() const { return fd_; }

  private:
    int fd_;
};

timespec as_timespec(std::int64_t ns) {
    if (ns < 0) ns = 0;
    return {static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
}

std::int64_t clock_ns(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return t.tv_sec * std::int64_t{1000000000} + t.tv_nsec;
}

// Start time of a process in ticks that differ between two processes with the same pid; 0: there is
// none; nothing: it cannot be told. A zombie counts as dead: nothing will come of it any more.
std::optional<std::uint32_t> start_time(std::uint32_t pid) {
#ifdef __linux__
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? std::optional<std::uint32_t>(0) : std::nullopt;
    File file(fd);
    char text[1024];
    const ssize_t n = ::read(fd, text, sizeof text - 1);
    if (n < 0) return errno == ESRCH ? std::optional<std::uint32_t>(0) : std::nullopt;
    text[n] = 0;
    // The command's name may hold spaces and brackets: count fields from the last bracket.
    const char *p = std::strrchr(text, ')');
    if (p == nullptr || p[1] == 0) return std::nullopt;
    p += 2;
    if (*p == 'Z' || *p == 'X') return 0;
    for (int field = 3; field < 22; ++field) {
        p = std::strchr(p, ' ');
        if (p == nullptr) return std::nullopt;
        ++p;
    }
    return static_cast<std::uint32_t>(std::strtoull(p, nullptr, 10)) | 1u;
#elif defined(__APPLE__)
    proc_bsdinfo info{};
    if (proc_pidinfo(static_cast<int>(pid), PROC_PIDTBSDINFO, 0, &info, sizeof info) <= 0)
        return errno == ESRCH ? std::optional<std::uint32_t>(0) : std::nullopt;
    return static_cast<std::uint32_t>(info.pbi_start_tvsec * 1000 + info.pbi_start_tvusec / 1000) | 1u;
#else
    return 1;
#endif
}

std::atomic<std::uint64_t> this_process{0};

}  // namespace

Mapping::~Mapping() {
    if (base_ != nullptr) ::munmap(base_, reserved_);
}

Mapping::Mapping(Mapping &&other) noexcept { *this = std::move(other); }

Mapping &Mapping::operator=(Mapping &&other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    std::swap(reserved_, other.reserved_);
    std::swap(id_, other.id_);
    return *this;
}

Mapping Mapping::create(const std::string &path, std::size_t bytes, bool twice) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) fail(path);
    File file(fd);
    // Reserve the memory now: a full /dev/shm is an error here, not a SIGBUS in the first frame.
#ifdef __linux__
    int error = 0;
    do error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    while (error == EINTR);
    if (error != 0) {
        ::unlink(path.c_str());
        errno = error;
        fail(path);
    }
#else
    if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
        ::unlink(path.c_str());
        fail(path);
    }
#endif
    return map(fd, bytes, twice, Access::write);
}

Mapping Mapping::open(const std::string &path, std::size_t bytes, bool twice, Access access) {
    // Not blocking: what bears the name may be a pipe.
    const int fd = ::open(path.c_str(),
                          (access == Access::write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) fail(path);
    File file(fd);
    struct stat info {};
    if (::fstat(fd, &info) != 0) fail(path);
    if (!S_ISREG(info.st_mode)) {
        errno = ENXIO;
        fail(path);
    }
    if (info.st_uid != ::geteuid() && ::geteuid() != 0) {
        errno = EACCES;
        fail(path);
    }
    if (static_cast<std::size_t>(info.st_size) < bytes || bytes == 0) {
        errno = EINVAL;
        fail(path);
    }
    return map(fd, bytes, twice, access);
}

Mapping Mapping::map(int fd, std::size_t bytes, bool twice, Access access) {
    Mapping mapping;
    const int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = MAP_SHARED;
#ifdef __linux__
    if (access != Access::look) flags |= MAP_POPULATE;
#endif
    const std::size_t reserved = twice ? 2 * bytes : bytes;
    void *base = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) fail("mmap");
    mapping.base_ = static_cast<std::byte *>(base);
    mapping.bytes_ = bytes;
    mapping.reserved_ = reserved;
    struct stat info {};
    if (::fstat(fd, &info) != 0) fail("fstat");
    mapping.id_ = {static_cast<std::uint64_t>(info.st_dev), static_cast<std::uint64_t>(info.st_ino)};
    for (std::size_t at = 0; at < reserved; at += bytes) {
        if (::mmap(mapping.base_ + at, bytes, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED)
            fail("mmap");
    }
    return mapping;
}

FileId file_at(const std::string &path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return {};
    return {static_cast<std::uint64_t>(info.st_dev), static_cast<std::uint64_t>(info.st_ino)};
}

bool link_new(const std::string &from, const std::string &to) {
    if (::link(from.c_str(), to.c_str()) == 0) return true;
    if (errno == EEXIST) return false;
    fail(to);
}

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

#ifdef __linux__

void wait_on(std::atomic<std::uint32_t> *word, std::uint32_t expected, std::int64_t timeout_ns) {
    const timespec timeout = as_timespec(timeout_ns);
    ::syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void wake_all(std::atomic<std::uint32_t> *word) {
    ::syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

void wait_on_any(const Watched *words, std::size_t count, std::int64_t timeout_ns) {
    if (count == 1) return wait_on(words[0].word, words[0].expected, timeout_ns);
#if defined(SYS_futex_waitv) && defined(FUTEX_32)
    static std::atomic<bool> missing{false};
    if (count <= FUTEX_WAITV_MAX && !missing.load(std::memory_order_relaxed)) {
        futex_waitv waiters[FUTEX_WAITV_MAX];
        for (std::size_t i = 0; i < count; ++i)
            waiters[i] = {words[i].expected, reinterpret_cast<std::uint64_t>(words[i].word), FUTEX_32, 0};
        const timespec until = as_timespec(mono_ns() + timeout_ns);
        const long answer = ::syscall(SYS_futex_waitv, waiters, static_cast<unsigned>(count), 0u,
                                      &until, CLOCK_MONOTONIC);
        if (answer >= 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT) return;
        missing.store(true, std::memory_order_relaxed);  // an old kernel, or a sandbox forbids it
    }
#endif
    // Kernels before 5.16, or very many words: look at all words each millisecond.
    const std::int64_t until = mono_ns() + timeout_ns;
    for (;;) {
        for (std::size_t i = 0; i < count; ++i)
            if (words[i].word->load(std::memory_order_acquire) != words[i].expected) return;
        const std::int64_t now = mono_ns();
        if (now >= until) return;
        sleep_until(std::min(until, now + 1000000));
    }
}

#else  // a documented fallback: look at the words each half millisecond

void wait_on(std::atomic<std::uint32_t> *word, std::uint32_t expected, std::int64_t timeout_ns) {
    const Watched one{word, expected};
    wait_on_any(&one, 1, timeout_ns);
}

void wake_all(std::atomic<std::uint32_t> *) {}

void wait_on_any(const Watched *words, std::size_t count, std::int64_t timeout_ns) {
    const std::int64_t until = mono_ns() + timeout_ns;
    for (;;) {
        for (std::size_t i = 0; i < count; ++i)
            if (words[i].word->load(std::memory_order_acquire) != words[i].expected) return;
        const std::int64_t now = mono_ns();
        if (now >= until) return;
        sleep_until(std::min(until, now + 500000));
    }
}

#endif

std::uint64_t self() {
    std::uint64_t known = this_process.load(std::memory_order_relaxed);
    if (known == 0) {
        // A fork must learn its own; asking for the pid each time would be a system call.
        static const int hooked = ::pthread_atfork(
            nullptr, nullptr, [] { this_process.store(0, std::memory_order_relaxed); });
        static_cast<void>(hooked);
        const auto pid = static_cast<std::uint32_t>(::getpid());
        const auto started = start_time(pid);
        if (!started || *started == 0) fail("start time of this process (is /proc mounted?)");
        known = std::uint64_t{pid} << 32 | *started;
        this_process.store(known, std::memory_order_relaxed);
    }
    return known;
}

bool alive(std::uint64_t owner) {
    const auto started = start_time(static_cast<std::uint32_t>(owner >> 32));
    return !started || (*started != 0 && *started == static_cast<std::uint32_t>(owner));
}

std::int64_t mono_ns() { return clock_ns(CLOCK_MONOTONIC); }
std::int64_t unix_ns() { return clock_ns(CLOCK_REALTIME); }

void sleep_until(std::int64_t mono) {
#ifdef __linux__
    const timespec until = as_timespec(mono);
    ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
#else
    const timespec length = as_timespec(mono - mono_ns());
    ::nanosleep(&length, nullptr);
#endif
}

}  // namespace marey
