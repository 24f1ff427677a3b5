// Connection: a client's side of the socket: the hello, then one question at a time.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/descriptor.h"
#include "base/mutex.h"
#include "ipc/bells.h"
#include "ipc/protocol.h"
#include "ipc/wire.h"
#include "kvpool/result.h"

namespace kvpool::ipc {

struct Answer {
  std::vector<std::byte> bytes;  // behind the head
  std::vector<Descriptor> descriptors;
};

// Threads: any.
class Connection {
 public:
  // kNotFound (nobody listens), kInvalid (not a daemon, another version, somebody else's socket),
  // kBusy (it takes no more clients), kTimedOut (it does not answer), kIoError, each with one
  // sentence.
  static Result<std::shared_ptr<Connection>> Open(const std::filesystem::path& socket);

  // What the daemon says to it; kCancelled: it has gone.
  Result<Answer> Ask(MessageType type, std::span<const std::byte> question,
                     std::span<const int> descriptors = {});

  // The daemon has closed its side: nothing of it touches shared memory any more.
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  // Waits for that, and passes on bells meanwhile; false: `stop` became readable first.
  bool AwaitEnd(int stop, Bells& bells);

 private:
  Result<void> SayHello();
  Error Break() KVPOOL_REQUIRES(mutex_);
  bool ReceiveAll(std::span<std::byte> room, std::vector<Descriptor>& descriptors)
      KVPOOL_REQUIRES(mutex_);

  std::filesystem::path path_;
  Descriptor socket_;
  HelloAnswer hello_;
  std::atomic<bool> ended_{false};
  Mutex mutex_;
  bool broken_ KVPOOL_GUARDED_BY(mutex_) = false;
  std::uint32_t number_ KVPOOL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvpool::ipc
