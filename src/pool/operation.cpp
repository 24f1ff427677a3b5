#include "pool/operation.h"

#include <algorithm>
#include <utility>

#include "pool/segments.h"

namespace kvpool::pool {

void Operation::Reset(OperationKind new_kind, Request& new_request, std::size_t devices) {
  kind = new_kind;
  request = &new_request;
  segments.clear();
  lease = durable = moves = false;
  lease_budget = nullptr;
  priority = Priority::kForeground;
  gpu = -1;
  gpu_failed.store(false, std::memory_order_relaxed);
  urgent.store(false, std::memory_order_relaxed);
  results_ = &RequestAccess::Results(new_request);
  results_->assign(new_request.keys.size(), Status::kOk);
  layers_ready_ = nullptr;
  mirror_ = nullptr;
  keys.assign(new_request.keys.size(), {});
  units.resize(devices);
  for (auto& device_units : units) device_units.clear();
  first_units.clear();
  if (batch_capacity_ < devices) {
    for (auto& batches : batches_) batches = std::make_unique<DeviceBatch[]>(devices);
    batch_capacity_ = devices;
  }
  again_ = false;
}

std::span<const Segment> Operation::SegmentsOfKey(std::uint32_t key) const {
  return SegmentsOf(segments, keys.size(), key);
}

void Operation::MakeBatches() {
  batch_count_[again_] = 0;
  unit_count_ = 0;
  for (std::size_t device = 0; device < units.size(); ++device) {
    if (units[device].empty()) continue;
    DeviceBatch& batch = batches_[again_][batch_count_[again_]++];
    batch.operation = this;
    batch.device = static_cast<layout::DeviceIndex>(device);
    batch.units = units[device].data();
    batch.end = static_cast<std::uint32_t>(units[device].size());
    batch.cursor.store(0, std::memory_order_relaxed);
    batch.announced.store(false, std::memory_order_relaxed);
    batch.moved_bytes.store(0, std::memory_order_relaxed);
    batch.moved_ns.store(0, std::memory_order_relaxed);
    unit_count_ += units[device].size();
  }
  units_left_.store(unit_count_, std::memory_order_relaxed);
}

void Operation::StartAgain(std::vector<std::vector<UnitWork>> again) {
  again_ = true;
  first_units = std::exchange(units, std::move(again));
  MakeBatches();
}

void Operation::Start(std::uint32_t layers) {
  MakeBatches();
  layer_units_left_.assign(layers, 0);
  if (layers == 0) return;
  layers_ready_ = &RequestAccess::LayersReady(static_cast<GetRequest&>(*request));
  mirror_ = RequestAccess::Mirror(static_cast<GetRequest&>(*request));
  CountLayers();
}

void Operation::CountLayers() {
  for (const auto& device_units : units) {
    for (const UnitWork& work : device_units) {
      const auto [first, last] = LayersOf(work);
      for (std::uint32_t layer = first; layer <= last; ++layer) ++layer_units_left_[layer];
    }
  }
  std::uint32_t ready = 0;
  while (ready < layer_units_left_.size() && layer_units_left_[ready] == 0) ++ready;
  layers_ready_->store(ready, std::memory_order_release);
  Mirror();
}

// Two lanes may come in any order, and the later word has to be the last one.
void Operation::Mirror() const {
  if (mirror_ == nullptr) return;
  std::uint32_t ready = layers_ready_->load();
  for (;;) {
    mirror_->store(ready);
    const std::uint32_t now = layers_ready_->load();
    if (now == ready) return;
    ready = now;
  }
}

std::pair<std::uint32_t, std::uint32_t> Operation::LayersOf(const UnitWork& work) const {
  const layout::BlockShape& shape = keys[work.key].shape;
  const std::uint64_t layers = layer_units_left_.size();
  const std::uint64_t begin = std::uint64_t{work.unit} * shape.unit_bytes;
  return {static_cast<std::uint32_t>(begin * layers / shape.block_bytes),
          static_cast<std::uint32_t>((begin + work.bytes - 1) * layers / shape.block_bytes)};
}

bool Operation::IsAhead(const DeviceBatch& batch, std::uint32_t layers) const {
  const std::uint32_t next = batch.cursor.load(std::memory_order_relaxed);
  if (layers_ready_ == nullptr || next >= batch.end) return false;
  return LayersOf(UnitAt(batch, next)).first >
         layers_ready_->load(std::memory_order_relaxed) + layers;
}

// Sequentially consistent throughout: two lanes that empty two layers at once must not both miss
// what the other did.
void Operation::AdvanceLayers(const UnitWork& work) {
  const auto [first, last] = LayersOf(work);
  bool emptied = false;
  for (std::uint32_t layer = first; layer <= last; ++layer) {
    std::atomic_ref<std::uint32_t> left(layer_units_left_[layer]);
    emptied |= left.fetch_sub(1) == 1;
  }
  if (!emptied) return;
  AdvanceReady();
  Mirror();
}

void Operation::AdvanceReady() {
  std::uint32_t ready = layers_ready_->load(std::memory_order_acquire);
  while (ready < layer_units_left_.size()) {
    std::atomic_ref<std::uint32_t> left(layer_units_left_[ready]);
    if (left.load() != 0) return;
    if (layers_ready_->compare_exchange_weak(ready, ready + 1)) ++ready;
  }
}

void Operation::EndLayers() {
  if (layers_ready_ == nullptr) return;
  layers_ready_->store(static_cast<std::uint32_t>(layer_units_left_.size()),
                       std::memory_order_release);
  Mirror();
}

void Operation::UnitDone(UnitWork& work, Status status) {
  work.status = status;
  if (status != Status::kOk) {
    // Any of several failures will do; all are written before units_left_ reaches zero.
    std::atomic_ref<Status>((*results_)[work.key]).store(status, std::memory_order_relaxed);
  }
  // What failed may come from elsewhere yet; until then its layer is not in place.
  if (layers_ready_ != nullptr && status == Status::kOk) AdvanceLayers(work);
  if (units_left_.fetch_sub(1, std::memory_order_acq_rel) == 1) sink->UnitsDone(*this);
}

}  // namespace kvpool::pool
