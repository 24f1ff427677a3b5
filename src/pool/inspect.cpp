#include "pool/inspect.h"

#include <algorithm>

#include "base/limits.h"
#include "pool/pool_impl.h"

namespace kvpool::pool {
namespace {

constexpr std::uint64_t kBatchBytes = 64 * kMiB;

// Reads one space's blocks in batches through one buffer.
class SpaceReader {
 public:
  SpaceReader(PoolImpl& pool, Channel& channel, Space space)
      : pool_(pool), channel_(channel), space_(space) {}

  Result<void> Read(std::span<const std::string> names, CheckReport& report) {
    std::vector<Key> keys(names.begin(), names.end());
    std::vector<Segment> into;
    std::uint64_t total = 0;
    for (const Key key : keys) total += pool_.BlockBytes(space_, key);
    if (total > buffer_bytes_) {
      auto memory = pool_.Allocate(total, -1, false);
      if (!memory) return tl::unexpected(memory.error());
      memory_ = std::move(*memory);
      buffer_bytes_ = memory_->bytes().size();
    }
    std::uint64_t at = 0;
    for (const Key key : keys) {
      const std::uint64_t bytes = pool_.BlockBytes(space_, key);
      into.push_back({memory_->bytes().data() + at, bytes});
      at += bytes;
    }
    GetRequest get;
    get.space = space_;
    get.keys = keys;
    get.into = into;
    if (channel_.Submit(get) != Status::kOk) {
      return Fail(Status::kInvalid, "the pool's own keys were refused: its catalog is damaged");
    }
    Request* done = nullptr;
    while (channel_.Poll({&done, 1}) == 0) channel_.Wait(std::chrono::seconds(1));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (get.result(i) == Status::kOk) {
        report.bytes += into[i].bytes;
      } else {
        ++report.blocks_bad;
        bad_.emplace_back(keys[i]);
      }
    }
    return {};
  }

  void FreeBuffer() {
    memory_.reset();
    buffer_bytes_ = 0;
  }

  // What Read found bad.
  void DropBad() {
    const std::vector<Key> keys(bad_.begin(), bad_.end());
    for (std::size_t begin = 0; begin < keys.size(); begin += kMaxBatchKeys) {
      DropRequest drop;
      drop.space = space_;
      drop.keys = std::span(keys).subspan(begin, std::min(kMaxBatchKeys, keys.size() - begin));
      if (channel_.Submit(drop) != Status::kOk) return;
      Request* done = nullptr;
      while (channel_.Poll({&done, 1}) == 0) channel_.Wait(std::chrono::seconds(1));
    }
  }

 private:
  PoolImpl& pool_;
  Channel& channel_;
  const Space space_;
  std::vector<std::string> bad_;
  std::shared_ptr<Memory> memory_;
  std::uint64_t buffer_bytes_ = 0;
};

// Reads all blocks of one space, a batch at a time.
Result<void> ReadSpace(PoolImpl& pool, Space space, SpaceReader& reader, CheckReport& report,
                       std::uint64_t& checked, const CheckWishes& wishes) {
  const std::vector<std::string> names = pool.Keys(space);
  for (std::size_t begin = 0; begin < names.size();) {
    std::size_t end = begin;
    std::uint64_t bytes = 0;
    while (end < names.size() && (end == begin || bytes < kBatchBytes) &&
           end - begin < kMaxBatchKeys) {
      bytes += pool.BlockBytes(space, names[end++]);
    }
    auto read = reader.Read(std::span(names).subspan(begin, end - begin), report);
    if (!read) return read;
    checked += end - begin;
    if (wishes.progress) wishes.progress(checked, report.blocks);
    begin = end;
  }
  reader.FreeBuffer();
  return {};
}

}  // namespace

Result<CheckReport> CheckPool(const Config& config, const CheckWishes& wishes) {
  Config verifying = config;
  verifying.verify = true;
  auto pool = PoolImpl::Open(verifying, Clock::Monotonic());
  if (!pool) return tl::unexpected(pool.error());
  auto channel = (*pool)->OpenChannel({});
  if (!channel) return tl::unexpected(channel.error());
  (*pool)->KeepFailedBlocks(true);
  CheckReport report;
  report.blocks = (*pool)->info().blocks;
  report.blocks_lost = (*pool)->info().blocks_lost_at_open;
  std::uint64_t checked = 0;
  std::vector<SpaceReader> readers;
  for (const auto& [space, spec] : (*pool)->Spaces()) {
    readers.emplace_back(**pool, **channel, space);
    auto read = ReadSpace(**pool, space, readers.back(), report, checked, wishes);
    if (!read) return tl::unexpected(read.error());
  }
  report.devices = (*pool)->info().devices;
  report.dropped = report.blocks_bad != 0 && wishes.may_drop && wishes.may_drop(report);
  if (report.dropped) {
    for (SpaceReader& reader : readers) reader.DropBad();
  }
  return report;
}

}  // namespace kvpool::pool
