// SimDetacher: takes memory from under late transfers of made-up drives, where that can be done.
#pragma once

#include "mem/detacher.h"
#include "tests/sim/rack.h"

namespace kvpool::sim {

// Severs late transfers, and leaves noise where they would have gone. Refuses memory that stays:
// arenas drawn so, and with `others_stay` what is nobody's arena, such as a mover's buffer.
class SimDetacher final : public mem::Detacher {
 public:
  SimDetacher(Rack& rack, bool others_stay) : rack_(rack), others_stay_(others_stay) {}
  bool Detach(std::span<const iovec> parts) override;

 private:
  Rack& rack_;
  const bool others_stay_;
};

}  // namespace kvpool::sim
