#include "bench/replay_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/limits.h"
#include "base/units.h"
#include "bench/compare/content.h"

namespace kvpool::bench {
namespace {

constexpr std::uint64_t kBatchBytes = 64 * kMiB;  // one get or put moves at most this, or one block
constexpr auto kWait = std::chrono::milliseconds(100);

double Seconds(std::int64_t ns) { return static_cast<double>(ns) / 1e9; }

std::uint64_t DifferingBytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  if (std::memcmp(a.data(), b.data(), a.size()) == 0) return 0;
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

// A block of the pool has at most so many units.
constexpr std::uint64_t kMaxBytesPerBlock = std::uint64_t{kMaxUnitsPerBlock} * kMaxUnitBytes;

tl::unexpected<Error> NoMemory(const Error& error, std::uint64_t bytes_per_block) {
  return Fail(error.status,
              fmt::format("--bytes-per-block {}: {}", FormatBytes(bytes_per_block), error.message),
              error.system_errno);
}

class Replay final : public PoolReplay {
 public:
  Replay(Pool& pool, const PoolReplayOptions& options)
      : pool_(pool), options_(options), before_(pool.info()) {}

  Result<void> Prepare();
  Result<void> Serve(double timestamp_ms, std::span<const std::uint64_t> hash_ids) override;
  PoolReplayReport Report() const override;

 private:
  void WaitUntil(double timestamp_ms);
  void NameKeys(std::span<const std::uint64_t> hash_ids);
  Result<std::size_t> Get(std::span<const std::uint64_t> hash_ids);
  std::size_t CountIntact(std::span<const std::uint64_t> hash_ids);
  Result<void> Put(std::span<const std::uint64_t> hash_ids, std::size_t first);
  void CountStored();
  template <class AnyRequest>
  Result<void> Finish(AnyRequest& request);
  std::span<std::byte> Slot(std::size_t i) {
    return memory_->bytes().subspan(i * options_.bytes_per_block, options_.bytes_per_block);
  }

  Pool& pool_;
  const PoolReplayOptions options_;
  const PoolInfo before_;
  std::vector<std::byte> expected_;
  std::size_t batch_blocks_ = 1;
  Space space_;
  std::shared_ptr<Memory> memory_;
  std::unique_ptr<Channel> channel_;
  std::vector<Segment> segments_;         // one a slot of memory_
  std::vector<std::uint64_t> key_bytes_;  // what keys_ points to
  std::vector<Key> keys_;
  GetRequest get_;
  PutRequest put_;
  std::vector<double> get_ms_;
  std::int64_t start_ns_ = -1;
  double first_timestamp_ms_ = 0;
  std::int64_t end_ns_ = 0;
  PoolReplayReport report_;
};

Result<void> Replay::Prepare() {
  SpaceSpec spec;
  spec.model = "trace-replay";
  spec.dtype = "bytes";
  spec.layout = fmt::format("{}-from-seed-{}", options_.bytes_per_block, options_.seed);
  auto space = pool_.OpenSpace(spec);
  if (!space) return tl::unexpected(space.error());
  space_ = *space;
  batch_blocks_ = std::clamp<std::size_t>(kBatchBytes / options_.bytes_per_block, 1, kMaxBatchKeys);
  auto memory = pool_.Allocate(batch_blocks_ * options_.bytes_per_block);
  if (!memory) return NoMemory(memory.error(), options_.bytes_per_block);
  expected_.resize(options_.bytes_per_block);
  memory_ = std::move(*memory);
  for (std::size_t i = 0; i < batch_blocks_; ++i) {
    segments_.push_back({.data = Slot(i).data(), .bytes = options_.bytes_per_block});
  }
  auto channel = pool_.OpenChannel();
  if (!channel) return tl::unexpected(channel.error());
  channel_ = std::move(*channel);
  return {};
}

Result<void> Replay::Serve(double timestamp_ms, std::span<const std::uint64_t> hash_ids) {
  WaitUntil(timestamp_ms);
  NameKeys(hash_ids);
  const auto hit = Get(hash_ids);
  if (!hit) return tl::unexpected(hit.error());
  if (auto put = Put(hash_ids, *hit); !put) return put;
  ++report_.requests;
  report_.blocks += hash_ids.size();
  report_.hit_blocks += *hit;
  end_ns_ = Clock::Monotonic().NowNs();
  return {};
}

void Replay::WaitUntil(double timestamp_ms) {
  const std::int64_t now_ns = Clock::Monotonic().NowNs();
  if (start_ns_ < 0) {
    start_ns_ = now_ns;
    first_timestamp_ms_ = timestamp_ms;
  }
  if (options_.speed <= 0) return;
  const double due_s = (timestamp_ms - first_timestamp_ms_) / 1e3 / options_.speed;
  const double ahead_s = due_s - Seconds(now_ns - start_ns_);
  report_.late_s_max = std::max(report_.late_s_max, -ahead_s);
  if (ahead_s > 0) std::this_thread::sleep_for(std::chrono::duration<double>(ahead_s));
}

void Replay::NameKeys(std::span<const std::uint64_t> hash_ids) {
  key_bytes_.assign(hash_ids.begin(), hash_ids.end());
  keys_.clear();
  for (const std::uint64_t& id : key_bytes_) {
    keys_.emplace_back(reinterpret_cast<const char*>(&id), sizeof id);
  }
}

// Gets the leading run, checks it, and returns how much of it is intact.
Result<std::size_t> Replay::Get(std::span<const std::uint64_t> hash_ids) {
  const std::size_t matched = pool_.Match(space_, keys_);
  std::int64_t spent_ns = 0;
  std::size_t intact = 0;
  for (std::size_t first = 0; first < matched && intact == first; first += get_.keys.size()) {
    const std::size_t count = std::min(batch_blocks_, matched - first);
    get_.space = space_;
    get_.keys = std::span<const Key>(keys_).subspan(first, count);
    get_.into = std::span<const Segment>(segments_).first(count);
    const std::int64_t start_ns = Clock::Monotonic().NowNs();
    if (auto done = Finish(get_); !done) return tl::unexpected(done.error());
    spent_ns += Clock::Monotonic().NowNs() - start_ns;
    intact += CountIntact(hash_ids.subspan(first, count));
  }
  if (matched > 0) get_ms_.push_back(static_cast<double>(spent_ns) / 1e6);
  report_.get_seconds += Seconds(spent_ns);
  report_.lost_blocks += matched - intact;
  report_.bytes_got += intact * options_.bytes_per_block;
  return intact;
}

std::size_t Replay::CountIntact(std::span<const std::uint64_t> hash_ids) {
  std::size_t leading = 0;
  bool in_run = true;
  for (std::size_t i = 0; i < hash_ids.size(); ++i) {
    in_run = in_run && get_.result(i) == Status::kOk;
    if (get_.result(i) != Status::kOk) continue;
    FillBlock(options_.seed, hash_ids[i], expected_);
    report_.wrong_bytes += get_.block_bytes(i) == options_.bytes_per_block
                               ? DifferingBytes(Slot(i), expected_)
                               : options_.bytes_per_block;
    leading += in_run ? 1 : 0;
  }
  return leading;
}

Result<void> Replay::Put(std::span<const std::uint64_t> hash_ids, std::size_t first) {
  while (first < hash_ids.size()) {
    const std::size_t count = std::min(batch_blocks_, hash_ids.size() - first);
    for (std::size_t i = 0; i < count; ++i) FillBlock(options_.seed, hash_ids[first + i], Slot(i));
    put_.space = space_;
    put_.keys = std::span<const Key>(keys_).subspan(first, count);
    put_.from = std::span<const Segment>(segments_).first(count);
    put_.ordinal = first;
    put_.parent = first > 0 ? keys_[first - 1] : Key{};
    if (auto done = Finish(put_); !done) return done;
    CountStored();
    first += count;
  }
  return {};
}

void Replay::CountStored() {
  for (const Status status : put_.results()) {
    if (status == Status::kExists) continue;
    if (status == Status::kDeclined) {
      ++report_.declined_blocks;
      continue;
    }
    ++(status == Status::kOk ? report_.stored_blocks : report_.refused_blocks);
    if (status == Status::kOk) report_.bytes_put += options_.bytes_per_block;
  }
}

template <class AnyRequest>
Result<void> Replay::Finish(AnyRequest& request) {
  const Status taken = channel_->Submit(request);
  if (taken != Status::kOk) {
    return Fail(taken, fmt::format("the pool does not take blocks of {} ({}): choose another "
                                   "--bytes-per-block",
                                   FormatBytes(options_.bytes_per_block), ToString(taken)));
  }
  for (Request* done = nullptr; channel_->Poll({&done, 1}) == 0;) channel_->Wait(kWait);
  return {};
}

PoolReplayReport Replay::Report() const {
  PoolReplayReport report = report_;
  const PoolInfo after = pool_.info();
  report.evictions = after.evictions - before_.evictions;
  report.seconds = start_ns_ < 0 ? 0 : Seconds(end_ns_ - start_ns_);
  for (std::size_t d = 0; d < after.devices.size(); ++d) {
    report.devices.push_back(
        {.name = after.devices[d].name,
         .bytes_read = after.devices[d].bytes_read - before_.devices[d].bytes_read,
         .bytes_written = after.devices[d].bytes_written - before_.devices[d].bytes_written});
  }
  std::vector<double> sorted = get_ms_;
  std::sort(sorted.begin(), sorted.end());
  const auto at = [&](double q) {
    const double last = static_cast<double>(sorted.size()) - 1;
    return sorted.empty() ? 0.0 : sorted[static_cast<std::size_t>(q * last + 0.5)];
  };
  report.get_ms_p50 = at(0.50);
  report.get_ms_p90 = at(0.90);
  report.get_ms_p99 = at(0.99);
  report.get_ms_max = at(1);
  return report;
}

}  // namespace

Result<std::unique_ptr<PoolReplay>> PoolReplay::Open(Pool& pool, const PoolReplayOptions& options) {
  if (options.bytes_per_block == 0 || options.bytes_per_block % 8 != 0) {
    return Fail(Status::kInvalid,
                fmt::format("{} a block is not a multiple of 8 bytes: give --bytes-per-block such "
                            "as 64KiB",
                            FormatBytes(options.bytes_per_block)));
  }
  if (options.bytes_per_block > kMaxBytesPerBlock) {
    return Fail(Status::kInvalid,
                fmt::format("--bytes-per-block {} is more than a block may have: give {} or less",
                            FormatBytes(options.bytes_per_block), FormatBytes(kMaxBytesPerBlock)));
  }
  auto replay = std::make_unique<Replay>(pool, options);
  if (auto prepared = replay->Prepare(); !prepared) return tl::unexpected(prepared.error());
  return replay;
}

}  // namespace kvpool::bench
