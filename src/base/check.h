// KVPOOL_CHECK: an invariant of our own. Stays on in release builds: a broken invariant must never
// become wrong bytes.
#pragma once

#include <cstdio>
#include <cstdlib>

#define KVPOOL_CHECK(condition)                                                           \
  do {                                                                                    \
    if (!(condition)) [[unlikely]] {                                                      \
      std::fprintf(stderr, "kvpool: broken invariant at %s:%d: %s\n", __FILE__, __LINE__, \
                   #condition);                                                           \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)
