// BlockDrive: a raw drive through the kernel's block layer, opened past the page cache.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/descriptor.h"
#include "device/raw_drive.h"

namespace kvpool::device {

// Threads: one.
class BlockDrive final : public RawDrive {
 public:
  // With kHold nobody else can mount or claim the drive, its partitions or its NVMe character
  // device. kNotFound, kBusy (in use), kInvalid (no block device, no permission), kUnsupported,
  // kIoError.
  static Result<std::unique_ptr<BlockDrive>> Open(const std::string& path, RawAccess access);

  Result<void> Read(std::uint64_t offset, std::span<std::byte> into) override;
  Result<void> Write(std::uint64_t offset, std::span<const std::byte> from) override;
  Result<bool> Discard() override;
  void ForgetPartitions() override;

  std::uint32_t physical_block_bytes() const { return physical_block_bytes_; }
  // The descriptor, for a device; nothing else works then.
  Descriptor TakeDescriptor() { return std::move(fd_); }

 private:
  BlockDrive(Descriptor fd, const std::string& path);
  Result<void> Measure();

  Descriptor fd_;
  std::uint32_t physical_block_bytes_ = 0;
};

}  // namespace kvpool::device
