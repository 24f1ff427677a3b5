// Mutex that clang's thread-safety analysis understands. For short control sections, never across
// I/O.
#pragma once

#include <mutex>

#if defined(__clang__)
#define KVPOOL_ANNOTATE(x) __attribute__((x))
#else
#define KVPOOL_ANNOTATE(x)
#endif

#define KVPOOL_GUARDED_BY(x) KVPOOL_ANNOTATE(guarded_by(x))
#define KVPOOL_REQUIRES(...) KVPOOL_ANNOTATE(requires_capability(__VA_ARGS__))

namespace kvpool {

class KVPOOL_ANNOTATE(capability("mutex")) Mutex {
 public:
  void lock() KVPOOL_ANNOTATE(acquire_capability()) { mutex_.lock(); }
  void unlock() KVPOOL_ANNOTATE(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class KVPOOL_ANNOTATE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) KVPOOL_ANNOTATE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() KVPOOL_ANNOTATE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace kvpool
