// From what a configuration says to a device with its wrappers, and back to nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/shared_limit.h"
#include "device/device.h"
#include "device/label.h"
#include "kvpool/config.h"

namespace kvpool::device {

// What is done with a raw drive.
enum class RawUse : std::uint8_t {
  kPool,          // held, and its label is the one that is expected
  kMeasure,       // held, whatever it carries
  kMeasureReads,  // whatever it carries and whoever has it: only for reads
};

struct OpenOptions {
  const Clock* clock = &Clock::Monotonic();  // of the slow wrapper; outlives the device
  std::uint64_t pool_id = 0;                 // what the label has to say; 0: anything
  std::uint64_t device_id = 0;               // the same
  // Memory: other processes can map what one owner has there. Null: they cannot.
  std::shared_ptr<SharedLimit> lent_memories;
  bool lock_memory = true;           // memory: tried
  bool avoid_io_uring = false;       // take the threads that stand in where io_uring is refused
  RawUse raw_use = RawUse::kPool;    // of a raw drive, behind the room of its label
  bool faults_outside_slow = false;  // else an injected error takes as long as the I/O would have
  std::vector<std::string> remarks;  // put after a drive's description: why it was chosen
};

// The back end, wrapped as config.slow and config.faults say. A drive is held against other
// processes, and other openings of this one, until the device is closed.
// kNotFound (no such file, no label), kBusy (in use), kInvalid (wrong label, shrunk, malformed
// faults), kUnsupported (O_DIRECT refused, another version), kCorrupt, kNoSpace, kIoError.
Result<std::unique_ptr<Device>> OpenDevice(const DeviceConfig& config,
                                           const OpenOptions& options = {});

struct CreateOptions {
  Label label;  // its capacity is taken from the configuration
  // A raw drive that carries a filesystem, a partition table or a pool's label is only taken
  // when told twice: `force`, and `confirm` naming its path or its serial number.
  bool force = false;
  std::string confirm;
};

// The label has a pool and a device id, and an index below its count.
// Makes the file of a file device, preallocated, or labels a raw drive; nothing for memory.
// kExists, kNoSpace, kInvalid, kUnsupported, kIoError. On failure leaves nothing behind.
Result<void> CreateDevice(const DeviceConfig& config, const CreateOptions& options);

// Deletes the file, or wipes the label of a raw drive. Only what carries a label; pool_id 0:
// any.
Result<void> RemoveDevice(const DeviceConfig& config, std::uint64_t pool_id = 0);

// The label of a file or raw drive, whatever else uses it. kNotFound, kUnsupported, kCorrupt,
// kInvalid, kIoError.
Result<Label> ReadLabel(const DeviceConfig& config);

}  // namespace kvpool::device
