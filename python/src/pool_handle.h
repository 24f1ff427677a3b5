// PoolHandle: what one kvpool.Pool of Python stands on. Handles of the same pool file share a pool.
#pragma once

#include <pybind11/pybind11.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "kvpool/pool.h"
#include "python/src/uses.h"

namespace kvpool::python {

class ChannelCore;

// A pool and the process that its threads live in. In a forked child it is left alone for ever:
// closing it would wait for threads that are not there, and write to the parent's files.
class SharedPool {
 public:
  SharedPool(std::unique_ptr<Pool> pool, std::uint64_t generation);
  ~SharedPool();
  Pool& pool() const { return *pool_; }
  std::uint64_t generation() const { return generation_; }

 private:
  std::unique_ptr<Pool> pool_;
  const std::uint64_t generation_;
};

// Threads: any, with the GIL, where nothing else is said.
class PoolHandle : public std::enable_shared_from_this<PoolHandle> {
 public:
  // Of the pool that is open by this file already, or else of one that is opened now; with
  // `create` made first where nothing is there.
  static std::shared_ptr<PoolHandle> Open(const std::filesystem::path& file, bool create);

  explicit PoolHandle(std::shared_ptr<SharedPool> shared);
  ~PoolHandle();
  PoolHandle(const PoolHandle&) = delete;
  PoolHandle& operator=(const PoolHandle&) = delete;

  // Raises Unsupported in a process that was forked from the one that opened the pool.
  void CheckProcess() const;
  bool forked() const;
  // While somebody is inside the pool is there.
  Uses& uses() { return uses_; }
  Pool& pool() const { return shared_->pool(); }
  bool SharesPool(const PoolHandle& other) const { return shared_ == other.shared_; }

  // An idle channel, or a new one; given back by PutBack. Both without the GIL, within a use.
  Result<std::unique_ptr<Channel>> TakeChannel();
  void PutBack(std::unique_ptr<Channel> channel);

  // Closed with the handle, when it has not gone before.
  void Add(const std::shared_ptr<ChannelCore>& channel);

  // Ends what is in flight, then closes. Twice is once, and in a forked child nothing.
  void Close();
  bool closed() const { return uses_.closed(); }

 private:
  std::shared_ptr<SharedPool> shared_;
  const std::uint64_t generation_;
  Uses uses_;
  std::mutex mutex_;                            // of the two below; short
  std::vector<std::unique_ptr<Channel>> idle_;  // of blocking calls
  std::vector<std::weak_ptr<ChannelCore>> channels_;
};

// For who closes what another thread is closing already: waits until that is done.
void AwaitEnd(Uses& uses);

inline constexpr char kThePool[] = "the pool";

// Closes every handle of this process, for the interpreter's exit, and opens no more.
void CloseEverything();
// Once, at import.
void PrepareForForks();

}  // namespace kvpool::python
