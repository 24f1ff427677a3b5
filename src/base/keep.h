// KeepForEver: what a device may still reach is never freed.
#pragma once

#include <memory>

namespace kvpool {

// Takes `thing` over until the process ends. A leak, on purpose: for what a device that hangs has
// been given and does not give back. Threads: any.
void KeepForEver(std::shared_ptr<void> thing);

}  // namespace kvpool
