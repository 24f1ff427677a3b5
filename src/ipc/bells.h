// Bells: tells who waits by an eventfd that the daemon has rung.
#pragma once

#include <map>

#include "base/descriptor.h"
#include "base/mutex.h"

namespace kvpool::ipc {

// A bell is a socket, since the daemon cannot trust an eventfd of a client's not to block it.
// Whoever polls a channel together with other descriptors wants an eventfd, which the client's
// watcher writes for them. Threads: any.
class Bells {
 public:
  // fd() is -1 where there is no descriptor for it.
  Bells();

  // From now on `event_fd` is written when something arrives at `bell`, and at once where something
  // has. Both outlive Remove.
  void Add(int bell, int event_fd);
  void Remove(int bell);

  // Readable: PassOn has something to do.
  int fd() const { return epoll_.get(); }
  void PassOn();
  // The daemon has gone: everybody has to look.
  void CallAll();

 private:
  static constexpr int kAtOnce = 16;

  Mutex mutex_;
  Descriptor epoll_;
  std::map<int, int> event_fds_ KVPOOL_GUARDED_BY(mutex_);  // by bell
};

}  // namespace kvpool::ipc
