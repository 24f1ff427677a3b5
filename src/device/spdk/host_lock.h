// HostLock: a name that one process of this machine holds at a time.
#pragma once

#include <string>

#include "base/descriptor.h"
#include "kvpool/result.h"

namespace kvpool::device {

// The kernel drops it with the process, however that ends, and it leaves no file behind: it is the
// name of an abstract socket. Processes in another network namespace do not see it.
class HostLock {
 public:
  // kBusy: `name` is held already, by another process or by this one. kNoSpace.
  static Result<HostLock> Take(const std::string& name);

 private:
  explicit HostLock(Descriptor fd) : fd_(std::move(fd)) {}
  Descriptor fd_;
};

}  // namespace kvpool::device
