#include "gpu/null_stager.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/check.h"
#include "base/units.h"
#include "mem/region.h"

namespace kvpool::gpu {
namespace {

constexpr std::size_t kMaxHeld = 64;

std::uint64_t BytesOf(const Copy& copy) {
  std::uint64_t bytes = 0;
  for (const Run& run : copy.runs) bytes += run.bytes;
  return bytes;
}

void Move(const Copy& copy) {
  for (const Run& run : copy.runs) {
    if (copy.direction == Direction::kToGpu) {
      std::memcpy(run.gpu, run.host, run.bytes);
    } else {
      std::memcpy(run.host, run.gpu, run.bytes);
    }
  }
}

// The link, shared by all queues.
struct Link {
  Link(const Pace& pace, const Clock& with) : ways{Pacer(pace), Pacer(pace)}, clock(with) {}
  Pacer ways[2];  // by direction
  const Clock& clock;
};

class NullQueue final : public Queue {
 public:
  explicit NullQueue(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  ~NullQueue() override { KVPOOL_CHECK(held_.empty()); }

  std::size_t Submit(std::span<Copy* const> copies) override {
    copies = copies.first(std::min(copies.size(), kMaxHeld - held_.size()));
    const std::int64_t now_ns = link_->clock.NowNs();
    for (Copy* copy : copies) {
      Pacer& way = link_->ways[static_cast<std::size_t>(copy->direction)];
      copy->queue_due_ns = way.Reserve(now_ns, BytesOf(*copy));
      // Sorted by when they are due; the two directions keep different times.
      const auto later = [](std::int64_t due_ns, const Copy* one) {
        return due_ns < one->queue_due_ns;
      };
      held_.insert(std::upper_bound(held_.begin(), held_.end(), copy->queue_due_ns, later), copy);
    }
    return copies.size();
  }

  std::size_t Poll(std::span<Copy*> done) override {
    if (held_.empty()) return 0;
    const std::int64_t now_ns = link_->clock.NowNs();
    std::size_t count = 0;
    while (count < done.size() && !held_.empty() && held_.front()->queue_due_ns <= now_ns) {
      Copy& copy = *held_.front();
      held_.pop_front();
      Move(copy);
      copy.status = Status::kOk;
      done[count++] = &copy;
    }
    return count;
  }

  std::int64_t NextPollNs() const override {
    return held_.empty() ? kNever : held_.front()->queue_due_ns;
  }

 private:
  const std::shared_ptr<Link> link_;
  std::deque<Copy*> held_;
};

class NullImport final : public ImportedMemory {
 public:
  explicit NullImport(std::unique_ptr<mem::Region> region) : region_(std::move(region)) {}
  std::span<std::byte> bytes() const override { return region_->bytes(); }

 private:
  const std::unique_ptr<mem::Region> region_;
};

class NullStager final : public Stager {
 public:
  NullStager(const NullStagerOptions& options, const Clock& clock)
      : link_(std::make_shared<Link>(options.pace, clock)) {
    traits_.name = options.name;
    traits_.kind = "null";
    traits_.identity = "null";
    traits_.description = fmt::format("host memory that plays a GPU's, {} each way",
                                      FormatRate(options.pace.bytes_per_s));
    traits_.numa_node = options.numa_node;
    traits_.bytes_per_s = options.pace.bytes_per_s;
  }

  const Traits& traits() const override { return traits_; }
  Result<std::unique_ptr<Queue>> OpenQueue() override { return std::make_unique<NullQueue>(link_); }
  Range RangeAround(const std::byte* address) const override {
    if (address == nullptr) return {};
    return {1, std::numeric_limits<std::uintptr_t>::max()};
  }
  Result<std::unique_ptr<ImportedMemory>> Import(Handle handle, std::uint64_t bytes) override {
    auto region = mem::Region::Adopt(handle.descriptor.Release(), bytes);
    if (!region) return tl::unexpected(region.error());
    return std::make_unique<NullImport>(std::move(*region));
  }
  bool Pin(std::span<std::byte>) override { return true; }
  void Unpin(std::span<std::byte>) override {}

 private:
  const std::shared_ptr<Link> link_;
  Traits traits_;
};

}  // namespace

std::unique_ptr<Stager> MakeNullStager(const NullStagerOptions& options, const Clock& clock) {
  return std::make_unique<NullStager>(options, clock);
}

}  // namespace kvpool::gpu
