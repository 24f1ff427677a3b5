#include "pool/request_log.h"

#include <algorithm>

namespace kvpool::pool {

void RequestLog::Add(const Operation& operation, std::int64_t now_ns) {
  if (!operation.HasUnits()) return;
  MutexLock lock(mutex_);
  if (ring_.size() < kRequestsLogged) ring_.emplace_back();
  LoggedRequest& logged = ring_[next_];
  next_ = (next_ + 1) % kRequestsLogged;
  logged.space = operation.request->space.id;
  logged.start_ns = operation.submitted_ns;
  logged.end_ns = now_ns;
  logged.bytes = 0;
  logged.blocks = static_cast<std::uint32_t>(operation.keys.size());
  logged.done = 0;
  for (std::size_t key = 0; key < operation.keys.size(); ++key) {
    logged.done += operation.KeyStatus(key) == Status::kOk ? 1 : 0;
  }
  logged.devices.clear();  // keeps its memory
  operation.ForEachMoved([&](const DeviceBatch& batch) {
    const std::uint64_t bytes = batch.moved_bytes.load(std::memory_order_relaxed);
    if (bytes == 0) return;
    logged.bytes += bytes;
    logged.devices.push_back({batch.device, bytes, batch.moved_ns.load(std::memory_order_relaxed)});
  });
}

std::vector<LoggedRequest> RequestLog::Read() const {
  MutexLock lock(mutex_);
  std::vector<LoggedRequest> log = ring_;
  if (log.size() == kRequestsLogged) {
    std::rotate(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(next_), log.end());
  }
  return log;
}

std::vector<double> SharesOf(const std::vector<LoggedRequest>& log, std::size_t devices) {
  std::vector<double> shares(devices, 0);
  double all = 0;
  for (const LoggedRequest& request : log) {
    for (const LoggedDevice& part : request.devices) {
      shares[part.device] += static_cast<double>(part.bytes);
      all += static_cast<double>(part.bytes);
    }
  }
  for (double& share : shares) share = all == 0 ? 0 : share / all;
  return shares;
}

}  // namespace kvpool::pool
