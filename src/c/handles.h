// What the C face's opaque handles are, and how errors leave it.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <vector>

#include "kvpool/kvpool.h"
#include "kvpool/pool.h"

struct kvpool_pool {
  std::unique_ptr<kvpool::Pool> pool;
  std::atomic<int> channels{0};  // that are open
};

struct kvpool_memory {
  std::shared_ptr<kvpool::Memory> memory;
};

namespace kvpool::c {

kvpool_status StatusOf(Status status);

// Fills `out` where there is one. Gives the error's status.
kvpool_status Report(const Error& error, kvpool_error* out);

// Runs `body`, which gives a Result<void>; an exception becomes an error, too.
template <class Body>
kvpool_status Guard(kvpool_error* out, const Body& body) {
  try {
    const Result<void> done = body();
    return done ? KVPOOL_OK : Report(done.error(), out);
  } catch (const std::bad_alloc&) {
    return Report({Status::kNoSpace, 0, "this process has no memory left: give it more"}, out);
  } catch (const std::exception& exception) {
    return Report({Status::kIoError, 0, exception.what()}, out);
  }
}

// Empty without data.
std::vector<Key> KeysOf(const kvpool_key* keys, std::size_t count);

}  // namespace kvpool::c
