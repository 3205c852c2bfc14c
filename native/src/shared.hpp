// Access to fields that several processes share, each with the order that it needs.
//
// Every word in shared memory but the pixels is accessed through here, so that ThreadSanitizer can
// judge it. It knows no fences and takes none into account: what it passes is right by the acquires
// and releases alone, or has no plain access in it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace marey {

template <class T> std::atomic_ref<T> shared(T &field) { return std::atomic_ref<T>(field); }

template <class T> T acquire(T &field) { return shared(field).load(std::memory_order_acquire); }
template <class T> T relaxed(T &field) { return shared(field).load(std::memory_order_relaxed); }
template <class T> void set_relaxed(T &field, std::type_identity_t<T> value) {
    shared(field).store(value, std::memory_order_relaxed);
}
template <class T> void set_release(T &field, std::type_identity_t<T> value) {
    shared(field).store(value, std::memory_order_release);
}

// Copy whole structures word by word. The copy may mix two states: the caller must find that out.
template <class T> T load_words(T &from) {
    static_assert(sizeof(T) % 8 == 0 && std::is_trivially_copyable_v<T>);
    auto *words = reinterpret_cast<std::uint64_t *>(&from);
    std::uint64_t copied[sizeof(T) / 8];
    for (std::size_t i = 0; i < sizeof(T) / 8; ++i) copied[i] = relaxed(words[i]);
    T value;
    std::memcpy(&value, copied, sizeof value);
    return value;
}

template <class T> void store_words(T &to, const std::type_identity_t<T> &value) {
    static_assert(sizeof(T) % 8 == 0 && std::is_trivially_copyable_v<T>);
    auto *words = reinterpret_cast<std::uint64_t *>(&to);
    std::uint64_t copied[sizeof(T) / 8];
    std::memcpy(copied, &value, sizeof value);
    for (std::size_t i = 0; i < sizeof(T) / 8; ++i) set_relaxed(words[i], copied[i]);
}

// Between two times of which one may be anything: it wraps instead of being undefined.
inline std::int64_t since(std::int64_t now, std::int64_t then) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(now) - static_cast<std::uint64_t>(then));
}

// A futex word as the waiting calls want it.
inline std::atomic<std::uint32_t> *word(std::uint32_t &field) {
    static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
    return reinterpret_cast<std::atomic<std::uint32_t> *>(&field);
}

}  // namespace marey
