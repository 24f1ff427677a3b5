// RawDrive: a drive without a filesystem as labelling and formatting see it, and what they do to
// it. Devices are made elsewhere; this never runs beside one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "device/open.h"

namespace kvpool::device {

struct RawDriveFacts {
  std::string where;   // its path or address, for messages
  std::string serial;  // empty where it tells none
  std::uint64_t bytes = 0;
  std::uint32_t logical_block_bytes = 512;  // 512 or 4096
};

enum class RawAccess : std::uint8_t {
  kLook,  // only reads; whatever else uses it
  kHold,  // nobody else has it or gets it, mounted ones included
};

// Threads: one.
class RawDrive {
 public:
  virtual ~RawDrive() = default;
  const RawDriveFacts& facts() const { return facts_; }

  // Whole logical blocks at a multiple of 4 KiB, at most kMaxBytes, to memory of any alignment.
  // Waits. kIoError, kInvalid (no permission).
  static constexpr std::size_t kMaxBytes = 256 * kKiB;
  virtual Result<void> Read(std::uint64_t offset, std::span<std::byte> into) = 0;
  // Durable when it returns.
  virtual Result<void> Write(std::uint64_t offset, std::span<const std::byte> from) = 0;
  // Tells the drive that it need not keep what it holds. False: it has no such command.
  virtual Result<bool> Discard() = 0;
  // Has the kernel look again for a partition table.
  virtual void ForgetPartitions() {}

 protected:
  RawDriveFacts facts_;
};

// Of a kind of raw drive. kNotFound, kInvalid, kUnsupported, kIoError.
Result<std::unique_ptr<RawDrive>> OpenRawDrive(const DeviceConfig& config, RawAccess access);

// What a pool could have of it, behind the label's area.
std::uint64_t UsableBytes(const RawDriveFacts& facts);

// What it carries, as FindSignatures tells.
std::string SignaturesOn(RawDrive& drive);

// As CreateDevice, RemoveDevice and ReadLabel promise, on a drive that is held (looked at).
Result<void> LabelDrive(RawDrive& drive, const DeviceConfig& config, const CreateOptions& options);
Result<void> UnlabelDrive(RawDrive& drive, std::uint64_t pool_id);
Result<Label> LabelOf(RawDrive& drive);

// How OpenDevice opens it, and what its capacity is then: its label's, when that is as expected.
RawAccess AccessFor(RawUse use);
Result<std::uint64_t> CapacityOf(RawDrive& drive, const DeviceConfig& config,
                                 const OpenOptions& options);

}  // namespace kvpool::device
