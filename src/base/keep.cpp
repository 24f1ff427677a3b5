#include "base/keep.h"

#include <vector>

#include "base/mutex.h"

namespace kvpool {

void KeepForEver(std::shared_ptr<void> thing) {
  // Never destroyed either: a thread of a device may outlive the end of main.
  static Mutex* const mutex = new Mutex;
  static auto* const kept = new std::vector<std::shared_ptr<void>>;
  MutexLock lock(*mutex);
  kept->push_back(std::move(thing));
}

}  // namespace kvpool
