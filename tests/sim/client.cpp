#include "tests/sim/client.h"

#include <algorithm>

#include "base/limits.h"

namespace kvpool::sim {
Client::Client(Setting& setting, const ClientPlan& plan, std::unique_ptr<Channel> channel)
    : setting_(setting), world_(setting.world), plan_(plan), channel_(std::move(channel)) {}

bool Client::Act() {
  if (in_flight_.size() >= plan_.most_in_flight || world_.now() < next_act_ns_) return false;
  Random& random = world_.random;
  next_act_ns_ =
      world_.now() +
      static_cast<std::int64_t>(random.Below(2 * static_cast<std::uint64_t>(plan_.think_ns) + 1));
  const double what = random.Unit();
  if (what < plan_.puts) {
    Put();
  } else if (what < plan_.puts + plan_.drops) {
    Drop(DrawKeys(2));
  } else if (what < plan_.puts + plan_.drops + plan_.flushes) {
    Flush();
  } else {
    Get(DrawKeys(MostKeys()));
  }
  return true;
}

std::uint64_t Client::MostKeys() const {
  const auto& sizes = setting_.scenario.block_bytes;
  const std::uint64_t largest = *std::max_element(sizes.begin(), sizes.end());
  return std::clamp<std::uint64_t>(Arena::kBytes / (largest + 5 * kIoAlignment), 1, 6);
}

// Neighbours of one space, as a context's blocks are; some keys are more in demand than others.
std::vector<std::uint32_t> Client::DrawKeys(std::uint64_t most) {
  Random& random = world_.random;
  const auto spaces = static_cast<std::uint32_t>(setting_.spaces.size());
  const std::uint64_t all = setting_.oracle.size();
  const std::uint64_t first = random.Chance(0.5) ? random.Below(all) : random.Below(all / 3 + 1);
  std::vector<std::uint32_t> ids;
  for (std::uint64_t left = random.Between(1, most), id = first; left > 0 && id < all; --left) {
    ids.push_back(static_cast<std::uint32_t>(id));
    if (!random.Chance(0.03)) id += spaces;  // else named twice
  }
  return ids;
}

Priority Client::DrawPriority() {
  return world_.random.Chance(plan_.background) ? Priority::kBackground : Priority::kForeground;
}

Job& Client::NewJob(JobKind kind, std::span<const std::uint32_t> ids) {
  in_flight_.push_back(std::make_unique<Job>(kind));
  Job& job = *in_flight_.back();
  Random& random = world_.random;
  job.ids.assign(ids.begin(), ids.end());
  for (const std::uint32_t id : ids) job.keys.push_back(setting_.oracle.key(id).name);
  Request& request = job.request();
  request.space = setting_.spaces[ids.empty() ? 0 : setting_.oracle.key(ids[0]).space];
  request.keys = job.keys;
  job.patience_ns = std::chrono::nanoseconds(setting_.scenario.config.deadline).count();
  if (random.Chance(0.5)) {
    const std::uint64_t about = static_cast<std::uint64_t>(setting_.scenario.deadline_ns / kMs);
    request.deadline = std::chrono::milliseconds(random.Between(1, 2 * about));
    job.patience_ns = std::chrono::nanoseconds(*request.deadline).count();
  }
  return job;
}

template <class AnyRequest>
void Client::Submit(Job& job, AnyRequest& request) {
  job.order = setting_.oracle.NextOrder();
  job.submitted_ns = world_.now();
  job.troubles = world_.troubles;
  ++setting_.requests;
  world_.Note("client: {} submits {} of {} keys, the first is {}", job.order,
              static_cast<int>(job.kind), job.ids.size(), job.ids.empty() ? 0 : job.ids[0]);
  if (channel_->Submit(request) != Status::kOk) Fail(Failure::kOther, job, "was refused");
}

void Client::Put() {
  Random& random = world_.random;
  const auto ids = DrawKeys(MostKeys());
  Job& job = NewJob(JobKind::kPut, ids);
  const auto& sizes = setting_.scenario.block_bytes;
  std::vector<std::uint32_t> bytes(ids.size(), sizes[random.Below(sizes.size())]);
  if (random.Chance(0.2)) {
    for (std::uint32_t& one : bytes) one = sizes[random.Below(sizes.size())];
  }
  job.CutSegments(bytes, random);
  job.put.from = job.segments;
  job.put.durable = random.Chance(plan_.durable);
  job.put.priority = DrawPriority();
  if (random.Chance(0.7)) {
    const auto spaces = static_cast<std::uint32_t>(setting_.spaces.size());
    job.put.ordinal = ids[0] / spaces;
    if (ids[0] >= spaces) job.put.parent = setting_.oracle.key(ids[0] - spaces).name;
  }
  // The order of what comes next: Submit will draw it.
  const Order order = setting_.oracle.NextOrder();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint32_t version = setting_.oracle.BeginPut(ids[i], bytes[i], order);
    job.versions.push_back(version);
    FillContent(setting_.oracle.key(ids[i]).versions[version].base, job.SegmentsOf(i));
  }
  Submit(job, job.put);
}

void Client::Get(std::span<const std::uint32_t> ids) {
  Random& random = world_.random;
  Job& job = NewJob(JobKind::kGet, ids);
  const auto& sizes = setting_.scenario.block_bytes;
  std::uint32_t room = *std::max_element(sizes.begin(), sizes.end());
  if (random.Chance(0.1)) room = sizes[random.Below(sizes.size())];  // too little for some
  job.CutSegments(std::vector<std::uint32_t>(ids.size(), room), random);
  job.get.into = job.segments;
  job.get.lease = random.Chance(plan_.leases);
  job.get.priority = DrawPriority();
  job.arena->stays = random.Chance(setting_.scenario.stays);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    bool present = false;
    setting_.pool.Contains(job.get.space, std::span(job.keys).subspan(i, 1), {&present, 1});
    const auto current = setting_.oracle.Current(ids[i]);
    job.versions.push_back(present ? current : std::nullopt);
  }
  Submit(job, job.get);
}

void Client::Drop(std::span<const std::uint32_t> ids) {
  Job& job = NewJob(JobKind::kDrop, ids);
  Submit(job, job.drop);
}

void Client::Flush() {
  std::vector<std::uint32_t> ids;
  if (!world_.random.Chance(0.3)) ids = DrawKeys(4);
  Job& job = NewJob(JobKind::kFlush, ids);
  for (const std::uint32_t id : ids) job.versions.push_back(setting_.oracle.Current(id));
  Submit(job, job.flush);
}

void Client::Read(std::span<const std::uint32_t> ids, std::vector<Status>& statuses,
                  std::uint32_t* version) {
  statuses_ = &statuses;
  version_ = version;
  Get(ids);
}

bool Client::Collect() {
  Request* done[4];
  const std::size_t count = channel_->Poll(done);
  for (Request* request : std::span(done).first(count)) {
    const auto at = std::find_if(in_flight_.begin(), in_flight_.end(),
                                 [&](const auto& job) { return &job->request() == request; });
    if (at == in_flight_.end()) {
      world_.Fail(Failure::kOther, "a request came back that is not in flight");
      continue;
    }
    std::unique_ptr<Job> job = std::move(*at);
    in_flight_.erase(at);
    Settle(*job);
    if (job->kind != JobKind::kGet) continue;
    if (job->get.lease) {
      leased_.push_back(std::move(job));
    } else {
      Watch(std::move(job));
    }
  }
  bool moved = count != 0;
  for (std::size_t i = leased_.size(); i-- > 0;) {
    if (world_.now() < leased_[i]->release_ns) continue;
    EndLease(*leased_[i]);
    leased_.erase(leased_.begin() + static_cast<std::ptrdiff_t>(i));
    moved = true;
  }
  for (const auto& job : in_flight_) CheckInTime(*job);
  return moved;
}

std::int64_t Client::NextNs() const {
  std::int64_t next_ns = World::kNever;
  if (in_flight_.size() < plan_.most_in_flight) next_ns = next_act_ns_;
  for (const auto& job : in_flight_) {
    const std::int64_t deadline_ns = job->submitted_ns + job->patience_ns;
    if (deadline_ns > world_.now()) next_ns = std::min(next_ns, deadline_ns);
  }
  for (const auto& job : leased_) next_ns = std::min(next_ns, job->release_ns);
  return next_ns;
}

}  // namespace kvpool::sim
