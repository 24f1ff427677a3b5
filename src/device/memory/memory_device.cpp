#include "device/memory/memory_device.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "device/io_check.h"
#include "device/io_list.h"
#include "device/memory/owned_pages.h"
#include "mem/region.h"

namespace kvpool::device {
namespace {

// How many copies may be done and not yet polled: bounds the time that one Submit takes.
constexpr std::uint32_t kDepth = 4;

// A device's bytes: in one piece, or in pages of each owner's own.
struct Bytes {
  std::span<std::byte> common;
  OwnedPages* owned = nullptr;

  std::byte* At(std::uint64_t offset) const {
    return owned == nullptr ? common.data() + offset : owned->At(offset);
  }
  // How many of `bytes` from `offset` on lie one behind the other.
  std::uint64_t Run(std::uint64_t offset, std::uint64_t bytes) const {
    return owned == nullptr ? bytes : std::min(bytes, kSlabBytes - offset % kSlabBytes);
  }
};

class MemoryQueue final : public Queue {
 public:
  MemoryQueue(const Traits& traits, const Bytes& bytes, int event_fd)
      : traits_(traits), bytes_(bytes), event_fd_(event_fd) {}
  ~MemoryQueue() override { KVPOOL_CHECK(held_ == 0); }

  std::size_t Submit(std::span<Io* const> ios) override {
    std::size_t taken = 0;
    for (; taken < ios.size() && held_ < kDepth; ++taken, ++held_) {
      Io& io = *ios[taken];
      io.status = IsValid(io, traits_) ? Status::kOk : Status::kInvalid;
      if (io.status == Status::kOk && !Own(io)) io.status = Status::kIoError;
      if (io.status == Status::kOk) Copy(io);
      done_.Push(io);
    }
    if (taken > 0) Notify(event_fd_);
    return taken;
  }

  std::size_t Poll(std::span<Io*> done) override {
    const std::size_t count = done_.PopInto(done);
    held_ -= static_cast<std::uint32_t>(count);
    return count;
  }

  void Cancel(Io&) override {}  // everything is done already

 private:
  bool Own(const Io& io) {
    if (bytes_.owned == nullptr || io.op != Op::kWrite || io.owner == 0) return true;
    return bytes_.owned->Own(io.offset, io.bytes, io.owner);
  }

  // Stores that bypass the cache copy a quarter faster, and lose a tenth once the bytes are
  // checksummed right after, which is the usual case (1 MiB pieces, one core): so plain copies.
  void Copy(const Io& io) {
    std::uint64_t offset = io.offset;
    for (const iovec& segment : io.segments) {
      auto* with = static_cast<std::byte*>(segment.iov_base);
      for (std::uint64_t left = segment.iov_len; left != 0;) {
        const std::uint64_t run = bytes_.Run(offset, left);
        std::byte* const at = bytes_.At(offset);
        std::memcpy(io.op == Op::kRead ? with : at, io.op == Op::kRead ? at : with, run);
        with += run;
        offset += run;
        left -= run;
      }
    }
  }

  const Traits& traits_;
  const Bytes bytes_;
  int event_fd_;
  std::uint32_t held_ = 0;
  IoList done_;
};

class MemoryDevice final : public Device {
 public:
  MemoryDevice(const MemoryDeviceOptions& options, std::unique_ptr<mem::Region> region)
      : region_(std::move(region)) {
    traits_.name = options.name;
    traits_.kind = "memory";
    traits_.description = region_->description();
    traits_.capacity_bytes = options.capacity_bytes;
    traits_.alignment = 1;
    traits_.depth = kDepth;
    traits_.numa_node = region_->numa_node();
    traits_.mapped = true;
    traits_.volatile_bytes = true;
    bytes_.common = region_->bytes();
    if (!options.lent_memories) return;
    if (region_->page_kind() == mem::PageKind::kHuge) {
      traits_.description += ", not lent to clients";
      return;
    }
    owned_.emplace(region_->bytes(),
                   OwnedPages::Options{.numa_node = region_->numa_node(),
                                       .lock = region_->locked(),
                                       .most_owners = MostOwners(options.capacity_bytes),
                                       .lent_memories = options.lent_memories});
    bytes_.owned = &*owned_;
  }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue(const QueueOptions& options) override {
    return std::make_unique<MemoryQueue>(traits_, bytes_, options.event_fd);
  }
  std::byte* Map(std::uint64_t offset) override { return bytes_.At(offset); }
  const mem::LentMemory* Lent(std::uint32_t owner) override {
    return owned_ ? owned_->Of(owner) : nullptr;
  }
  void TrimLent(std::uint32_t owner) override {
    if (owned_) owned_->Trim(owner);
  }
  void ForgetOwner(std::uint32_t owner) override {
    if (owned_) owned_->Forget(owner);
  }

 private:
  // Each takes addresses for all of the device.
  static std::size_t MostOwners(std::uint64_t capacity_bytes) {
    constexpr std::uint64_t kMostAddresses = std::uint64_t{1} << 44;  // an eighth of a process'
    return kMostAddresses / capacity_bytes;
  }

  std::unique_ptr<mem::Region> region_;
  std::optional<OwnedPages> owned_;
  Bytes bytes_;
  Traits traits_;
};

}  // namespace

Result<std::unique_ptr<Device>> OpenMemoryDevice(const MemoryDeviceOptions& options) {
  auto region = mem::Region::Make({.bytes = options.capacity_bytes,
                                   .numa_node = options.numa_node,
                                   .shareable = false,
                                   .lock = options.lock});
  if (!region) return tl::unexpected(region.error());
  return std::make_unique<MemoryDevice>(options, std::move(*region));
}

}  // namespace kvpool::device
