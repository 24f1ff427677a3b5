#include "ipc/gpu_regions.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>

#include "ipc/records.h"

namespace kvpool::ipc {
namespace {

tl::unexpected<Error> NoGpusMemory() {
  return Fail(Status::kInvalid,
              "a segment is said to be on a GPU, and is in the memory of none that the daemon "
              "names: give one that is, or say that it is host memory");
}

// A request's own fault; all else is a matter of the memory and of the daemon.
Status SubmitStatus(Status status) {
  const bool own = status == Status::kInvalid || status == Status::kCancelled;
  return own ? status : Status::kUnsupported;
}

}  // namespace

Status GpuRegions::Prepare(const std::shared_ptr<Connection>& connection,
                           std::span<const Segment> segments) {
  MutexLock setup(setup_mutex_);
  Result<void> prepared = MeetDaemon(connection);
  if (prepared) prepared = PrepareAll(connection, segments);
  MutexLock lock(mutex_);
  failure_ = prepared ? std::string() : prepared.error().message;
  return prepared ? Status::kOk : SubmitStatus(prepared.error().status);
}

std::string GpuRegions::failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

// What the former one had opened went with it.
Result<void> GpuRegions::MeetDaemon(const std::shared_ptr<Connection>& connection) {
  if (daemon_.lock() != connection) {
    const auto answer = connection->Ask(MessageType::kInfo, {});
    if (!answer) return tl::unexpected(answer.error());
    auto info = DecodeInfo(answer->bytes);
    if (!info) return Fail(Status::kInvalid, "the daemon's answer makes no sense");
    MutexLock lock(mutex_);
    opened_.clear();
    gpus_ = std::move(info->gpus);
    daemon_ = connection;
  }
  if (!gpus_.empty()) return {};
  return Fail(Status::kUnsupported,
              "the daemon has no GPU: name it in its pool file ([[gpu]]), or bring the bytes to "
              "host memory");
}

Result<gpu::Allocation> GpuRegions::AllocationOf(const Segment& segment) {
  std::optional<Error> failed;
  std::set<std::string_view> kinds;
  for (const GpuInfo& info : gpus_) {
    if (!kinds.insert(info.kind).second) continue;
    auto& exporter = exporters_[info.kind];
    if (!exporter) {
      auto opened = gpu::OpenExporter(info.kind);
      if (!opened) {
        failed = opened.error();
        continue;
      }
      exporter = std::move(*opened);
    }
    gpu::Allocation allocation = exporter->Around(segment.data);
    if (!allocation.range.Holds(segment.data, segment.bytes)) continue;
    const bool named = std::any_of(gpus_.begin(), gpus_.end(), [&](const GpuInfo& one) {
      return one.identity == allocation.gpu;
    });
    if (named) return allocation;
    failed = Error{Status::kUnsupported, 0,
                   fmt::format("the memory is on {}, which the daemon does not have: name that GPU "
                               "in its pool file ([[gpu]])",
                               allocation.gpu)};
  }
  if (failed) return tl::unexpected(*failed);
  return NoGpusMemory();
}

Result<void> GpuRegions::PrepareAll(const std::shared_ptr<Connection>& connection,
                                    std::span<const Segment> segments) {
  // Pages of a cache lie in few allocations: the driver is asked about each of these, not each
  // page.
  std::vector<gpu::Allocation> known;
  for (const Segment& segment : segments) {
    if (!IsOnGpu(segment)) continue;
    const auto holds = [&](const gpu::Allocation& one) {
      return one.range.Holds(segment.data, segment.bytes);
    };
    if (std::any_of(known.rbegin(), known.rend(), holds)) continue;
    auto allocation = AllocationOf(segment);
    if (!allocation) return tl::unexpected(allocation.error());
    if (!known.empty() && known.front().gpu != allocation->gpu) {
      return Fail(Status::kInvalid,
                  "the segments lie on several GPUs: give those of one GPU a request");
    }
    if (auto opened = Open(connection, *allocation); !opened) return opened;
    known.push_back(std::move(*allocation));
  }
  return {};
}

Result<void> GpuRegions::Open(const std::shared_ptr<Connection>& connection,
                              const gpu::Allocation& allocation) {
  {
    MutexLock lock(mutex_);
    const auto known = opened_.find(allocation.range.begin);
    if (known != opened_.end() && known->second.allocation.id == allocation.id) return {};
  }
  CloseWhatIsGone(connection);
  const auto gpu = std::find_if(gpus_.begin(), gpus_.end(),
                                [&](const GpuInfo& one) { return one.identity == allocation.gpu; });
  auto handle = exporters_.at(gpu->kind)->Export(allocation);
  if (!handle) return tl::unexpected(handle.error());
  GpuRegionQuestion question{.bytes = allocation.range.end - allocation.range.begin};
  question.gpu.Set(allocation.gpu);
  question.handle = handle->bytes;
  const int fd = handle->descriptor.get();
  const std::span<const int> descriptors(&fd, handle->descriptor ? 1 : 0);
  const auto answer = connection->Ask(MessageType::kAddGpuRegion, BytesOf(question), descriptors);
  // What the daemon refuses is not the request's fault.
  if (!answer && answer.error().status != Status::kCancelled) {
    return Fail(Status::kUnsupported, answer.error().message);
  }
  if (!answer) return tl::unexpected(answer.error());
  const auto record = RecordIn<RegionAnswer>(answer->bytes);
  if (!record) return Fail(Status::kInvalid, "the daemon's answer makes no sense");
  MutexLock lock(mutex_);
  opened_[allocation.range.begin] = {allocation, record->region};
  return {};
}

// The daemon closes allocations that this process has freed meanwhile.
void GpuRegions::CloseWhatIsGone(const std::shared_ptr<Connection>& connection) {
  std::vector<std::uint32_t> numbers;
  {
    MutexLock lock(mutex_);
    std::erase_if(opened_, [&](const auto& one) {
      const gpu::Allocation& allocation = one.second.allocation;
      const std::byte* const first = allocation.range.first();
      const bool there =
          std::any_of(exporters_.begin(), exporters_.end(), [&](const auto& exporter) {
            return exporter.second && exporter.second->Around(first).id == allocation.id;
          });
      if (!there) numbers.push_back(one.second.number);
      return !there;
    });
  }
  for (const std::uint32_t number : numbers) {
    const Named question{.id = number};
    (void)connection->Ask(MessageType::kRemoveRegion, BytesOf(question));
  }
}

std::optional<Place> GpuRegions::Find(const Segment& segment) const {
  MutexLock lock(mutex_);
  const auto after = opened_.upper_bound(reinterpret_cast<std::uintptr_t>(segment.data));
  if (after == opened_.begin()) return std::nullopt;
  const Opened& opened = std::prev(after)->second;
  if (!opened.allocation.range.Holds(segment.data, segment.bytes)) return std::nullopt;
  const auto at = reinterpret_cast<std::uintptr_t>(segment.data);
  return Place{opened.number, at - opened.allocation.range.begin};
}

}  // namespace kvpool::ipc
