// Compile a hot function for several levels of x86-64 and choose at load time.
#pragma once

// The sanitizers' runtimes are not up yet when the loader resolves such functions.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    __GNUC__ >= 12 && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MAREY_CLONES \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MAREY_CLONES
#endif
