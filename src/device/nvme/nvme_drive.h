// NvmeDrive: an NVMe namespace by its character device, and commands to it that wait.
#pragma once

#include <linux/nvme_ioctl.h>

#include <memory>
#include <string>

#include "base/descriptor.h"
#include "device/nvme/command.h"
#include "device/nvme/identify.h"
#include "device/nvme/nodes.h"
#include "device/raw_drive.h"

namespace kvpool::device {

// `error` is why the character device cannot be used.
tl::unexpected<Error> NoPermission(const std::string& path, int error);

// Threads: one; what is const, any.
class NvmeDrive final : public RawDrive {
 public:
  // `path` is either node of the namespace. With kHold its block device is claimed, so nobody can
  // mount it or claim it through either node. kNotFound, kBusy (in use), kInvalid (no NVMe
  // namespace, no permission), kUnsupported (metadata, block size, no character device), kIoError.
  static Result<std::unique_ptr<NvmeDrive>> Open(const std::string& path, RawAccess access);
  ~NvmeDrive() override;

  Result<void> Read(std::uint64_t offset, std::span<std::byte> into) override;
  Result<void> Write(std::uint64_t offset, std::span<const std::byte> from) override;
  Result<bool> Discard() override;
  void ForgetPartitions() override;

  int fd() const { return fd_.get(); }
  const NvmeLimits& limits() const { return limits_; }
  const NvmeController& controller() const { return controller_; }
  const NvmeNodes& nodes() const { return nodes_; }
  const std::string& character_path() const { return character_path_; }

 private:
  NvmeDrive() = default;
  Result<void> OpenCharacter(RawAccess access);
  Result<void> Hold(const std::string& block_path);
  Result<void> Identify();
  Result<void> SetLimits(const NvmeNamespace& space);
  // One command whose answer is awaited; `what` is for the sentence.
  Result<void> Execute(std::string_view what, nvme_passthru_cmd& command);
  Result<void> MovePage(Op op, std::uint64_t offset, std::uint32_t bytes, void* page);

  Descriptor fd_;
  Descriptor held_;  // the block device, claimed
  std::string character_path_;
  NvmeNodes nodes_;
  NvmeController controller_;
  NvmeLimits limits_;
};

}  // namespace kvpool::device
