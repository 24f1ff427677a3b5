// The drives of a pool: which device of the configuration is where, by the labels.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "device/label_search.h"
#include "device/open.h"
#include "kvpool/config.h"

namespace kvpool::pool {

struct PoolDrive {
  DeviceConfig config;  // as configured, but at the path where its label is
  device::Label label;
  std::string remark;           // for people, where that is another path; else empty
  std::optional<Error> absent;  // why it cannot serve: then it has no label
};

struct PoolDrives {
  std::uint64_t pool_id = 0;                       // 0: there are no drives
  std::vector<std::optional<PoolDrive>> by_index;  // by position in the labels; none: memory
};

// How labels are read and searched; tests bring their own.
struct LabelSource {
  std::function<Result<device::Label>(const DeviceConfig&)> read = device::ReadLabel;
  std::function<std::vector<device::LabelledDrive>(std::uint64_t pool_id)> search =
      [](std::uint64_t pool_id) { return device::FindLabels(pool_id); };
};

// Steps 1 to 4 of "Finding" in docs/formats/label.md. `pool_id`: the catalog's; 0: not known.
//
// A drive that is not there, cannot be read, or carries no label of this pool is absent: the others
// can do without it, and it stands where none of them does. What a person got wrong is refused:
// kInvalid (paths of two drives of this pool mixed up, another number of devices, copies, no right
// to read), kUnsupported (a label of another version). So is a pool of which no drive is left, and
// one without a catalog that says whose drives are meant where their labels do not agree.
Result<PoolDrives> FindDrives(const Config& config, std::uint64_t pool_id,
                              const LabelSource& source = {});

}  // namespace kvpool::pool
