// The half of Client that judges what comes back.
#include <algorithm>
#include <cstring>

#include "tests/sim/client.h"

namespace kvpool::sim {
namespace {

constexpr int kMark = 0xa5;
constexpr std::int64_t kGraceNs = 100 * kMs;
// Flushes of drives and the catalog are no part of the deadline; a drive may take this long.
constexpr std::int64_t kFlushNs = 60'000 * kMs;

}  // namespace

bool NoneDrained(const Setting& setting) {
  const PoolInfo info = setting.pool.info();
  for (std::size_t i = 0; i < info.devices.size(); ++i) {
    if (info.devices[i].state == DeviceState::kDrained && !setting.rack.away(i)) return false;
  }
  return true;
}

void Client::Fail(Failure failure, const Job& job, const std::string& text) {
  constexpr const char* kKinds[] = {"put", "get", "drop", "flush"};
  world_.Fail(failure,
              fmt::format("{} {} (of {} keys, from {}): {}", kKinds[static_cast<int>(job.kind)],
                          job.order, job.ids.size(), job.ids.empty() ? 0 : job.ids[0], text));
}

void Client::CheckStatus(const Job& job, Status status, std::initializer_list<Status> allowed) {
  if (std::find(allowed.begin(), allowed.end(), status) == allowed.end()) {
    Fail(Failure::kOther, job, fmt::format("came back as \"{}\"", ToString(status)));
  }
  if (status == Status::kTimedOut && world_.now() < job.submitted_ns + job.patience_ns) {
    Fail(Failure::kOther, job, "timed out before its deadline");
  }
}

// Where memory cannot be detached, the device that holds it is waited for.
void Client::CheckInTime(Job& job) {
  if (job.arena->stays && setting_.rack.Reaches(job.arena->bytes())) job.held_ns = world_.now();
  const bool flushes =
      job.kind == JobKind::kFlush || (job.kind == JobKind::kPut && job.put.durable);
  const std::int64_t due_ns = std::max(job.submitted_ns + job.patience_ns, job.held_ns);
  const std::int64_t late = world_.now() - due_ns - kGraceNs;
  if (late <= (flushes ? kFlushNs : 0) || world_.crashed()) return;
  Fail(Failure::kHang, job,
       fmt::format("still in flight {} ms after its deadline", (late + kGraceNs) / kMs));
}

void Client::Settle(Job& job) {
  if (world_.crashed()) return;  // nobody was told any more
  world_.Note(
      "client: {} is back with {}", job.order,
      job.request().results().empty() ? -1 : static_cast<int>(job.request().results().front()));
  switch (job.kind) {
    case JobKind::kPut:
      return SettlePut(job);
    case JobKind::kGet:
      return SettleGet(job);
    case JobKind::kDrop:
      return SettleDrop(job);
    case JobKind::kFlush:
      return SettleFlush(job);
  }
}

void Client::SettlePut(Job& job) {
  for (std::size_t i = 0; i < job.ids.size(); ++i) {
    const Status status = job.put.result(i);
    CheckStatus(
        job, status,
        {Status::kOk, Status::kExists, Status::kNoSpace, Status::kIoError, Status::kTimedOut,
         setting_.scenario.catalog ? Status::kOk : Status::kUnsupported});
    const bool ok = status == Status::kOk;
    // What could not be made durable may be there all the same.
    const bool maybe =
        job.put.durable && (status == Status::kIoError || status == Status::kTimedOut);
    setting_.oracle.EndPut(job.ids[i], *job.versions[i], ok, maybe, job.put.durable);
    if (ok && job.put.durable) setting_.oracle.Recorded(job.order);
  }
}

void Client::SettleGet(Job& job) {
  for (std::size_t i = 0; i < job.ids.size(); ++i) {
    const Status status = job.get.result(i);
    CheckStatus(job, status, {Status::kOk, Status::kNotFound, Status::kTimedOut, Status::kInvalid});
    if (status == Status::kOk) CheckBytes(job, i);
    if (status == Status::kNotFound || status == Status::kInvalid) CheckFound(job, i);
  }
  const std::uint32_t layers =
      setting_.scenario.spaces[setting_.oracle.key(job.ids[0]).space].layers;
  if (job.get.LayersReady() != layers) Fail(Failure::kOther, job, "is done without all layers");
  job.release_ns =
      world_.now() + static_cast<std::int64_t>(world_.random.Logarithmic(1'000, 1'000'000'000));
  if (statuses_ != nullptr) {
    statuses_->assign(job.get.results().begin(), job.get.results().end());
    job.release_ns = 0;
    statuses_ = nullptr;
    version_ = nullptr;
  }
}

void Client::CheckBytes(const Job& job, std::size_t key) {
  const std::uint64_t bytes = job.get.block_bytes(key);
  std::uint32_t version = ~0u;
  const std::string wrong =
      setting_.oracle.Judge(job.ids[key], job.get.lease ? job.get.views(key) : job.SegmentsOf(key),
                            bytes, job.order, &version);
  world_.Note("client: {} found version {} of {}", job.order, version, job.ids[key]);
  if (version_ != nullptr) *version_ = version;
  if (!wrong.empty()) {
    Fail(Failure::kWrongBytes, job, fmt::format("key {}: {}", job.ids[key], wrong));
  }
}

// A block that was there, on drives that did nothing wrong, cannot be "not found".
void Client::CheckFound(const Job& job, std::size_t key) {
  const auto version = job.versions[key];
  if (!version || world_.losses != 0 || world_.troubles != job.troubles) return;
  if (!NoneDrained(setting_)) return;
  const Version& there = setting_.oracle.key(job.ids[key]).versions[*version];
  std::uint64_t room = 0;
  for (const Segment& segment : job.SegmentsOf(key)) room += segment.bytes;
  if (there.state != Version::State::kThere || room < there.bytes) return;
  Fail(Failure::kOther, job,
       fmt::format("key {} was there, and is \"{}\"", job.ids[key], ToString(job.get.result(key))));
}

void Client::SettleDrop(Job& job) {
  for (std::size_t i = 0; i < job.ids.size(); ++i) {
    CheckStatus(job, job.drop.result(i), {Status::kOk, Status::kNotFound});
    setting_.dormant.Forget(job.ids[i]);
    if (job.drop.result(i) == Status::kOk) setting_.oracle.Dropped(job.ids[i], job.order);
  }
}

void Client::SettleFlush(Job& job) {
  for (std::size_t i = 0; i < job.flush.results().size(); ++i) {
    const Status status = job.flush.result(i);
    CheckStatus(job, status,
                {Status::kOk, Status::kNotFound, Status::kIoError, Status::kUnsupported,
                 Status::kTimedOut, Status::kNoSpace});
    if (status != Status::kOk || !setting_.scenario.catalog) continue;
    setting_.oracle.Recorded(job.order);
    if (!job.ids.empty() && job.versions[i]) setting_.oracle.Durable(job.ids[i], *job.versions[i]);
  }
}

// A device may still hold what was given up: the memory belongs to the caller again.
void Client::Watch(std::unique_ptr<Job> job) {
  constexpr std::size_t kMost = 6;
  const auto results = job->get.results();
  const bool whole = std::all_of(results.begin(), results.end(),
                                 [](Status status) { return status == Status::kOk; });
  if (world_.crashed() || (whole && !world_.random.Chance(0.05))) return;
  for (const Segment& segment : job->segments) std::memset(segment.data, kMark, segment.bytes);
  watched_.push_back(std::move(job));
  if (watched_.size() > kMost) {
    CheckMark(*watched_.front());
    watched_.erase(watched_.begin());
  }
}

void Client::CheckMemory() {
  for (const auto& job : watched_) CheckMark(*job);
  watched_.clear();
}

void Client::CheckMark(const Job& job) {
  for (const Segment& segment : job.segments) {
    const auto marked = [](std::byte byte) { return byte == std::byte{kMark}; };
    if (std::all_of(segment.data, segment.data + segment.bytes, marked)) continue;
    return Fail(Failure::kWrongBytes, job, "its memory was written after it had ended");
  }
}

void Client::EndLease(Job& job) {
  for (std::size_t i = 0; i < job.ids.size() && !world_.crashed(); ++i) {
    if (job.get.result(i) == Status::kOk) CheckBytes(job, i);
  }
  channel_->Release(job.get);
}

void Client::EndLeases() {
  for (const auto& job : leased_) EndLease(*job);
  leased_.clear();
}

}  // namespace kvpool::sim
