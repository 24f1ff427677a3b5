// Store: blocks that are handed out where they lie.
#include <utility>

#include "pool/lease_budget.h"
#include "pool/segments.h"
#include "pool/store.h"

namespace kvpool::pool {
namespace {

std::uint64_t SlotsBytes(const layout::BlockShape& shape) {
  return std::uint64_t{shape.units} * shape.slot_bytes;
}

}  // namespace

using index::kNoEntry;

// May this block be handed out in place? To another process only where that can map all of its
// units in memory, and as far as the budget goes.
bool Store::TakeLease(const index::EntryView& view, const Operation& operation) {
  if (operation.lease_budget == nullptr) return true;
  const DeviceSlot* last = nullptr;
  const mem::LentMemory* lent = nullptr;
  for (const layout::UnitRecord& unit : view.units) {
    const DeviceSlot& slot = *devices_[unit.device()];
    if (!slot.mapped) continue;
    if (std::exchange(last, &slot) != &slot)
      lent = slot.device->Lent(OwnerOf(view.space, view.tenant));
    const std::byte* at = slot.device->Map(unit.offset());
    if (lent == nullptr || at != lent->bytes().data() + unit.offset()) return false;
  }
  return last != nullptr && operation.lease_budget->Take(SlotsBytes(view.shape));
}

void Store::GiveLease(const layout::BlockShape& shape, const Operation& operation) {
  if (operation.lease_budget != nullptr) operation.lease_budget->Give(SlotsBytes(shape));
}

// How much of a block's room a get needs: all of it, or up to the last unit that cannot be leased.
std::uint64_t Store::BytesNeeded(const index::EntryView& view, bool lease) const {
  std::uint32_t unit = view.shape.units;
  while (lease && unit != 0 && devices_[view.units[unit - 1].device()]->mapped) --unit;
  return std::min<std::uint64_t>(view.shape.block_bytes,
                                 std::uint64_t{unit} * view.shape.unit_bytes);
}

void Store::FillViews(Operation& operation, GetRequest& get) const {
  auto& views = RequestAccess::Views(get);
  auto& begin = RequestAccess::ViewBegin(get);
  views.clear();
  begin.assign(1, 0);
  std::vector<std::vector<std::byte*>> mapped(operation.keys.size());
  for (std::size_t key = 0; key < mapped.size(); ++key) {
    mapped[key].resize(operation.keys[key].shape.units, nullptr);
  }
  for (const auto* units : {&operation.first_units, &operation.units}) {
    for (std::size_t device = 0; device < units->size(); ++device) {
      for (const UnitWork& work : (*units)[device]) {
        if (work.status != Status::kOk || operation.keys[work.key].copied) continue;
        mapped[work.key][work.unit] = devices_[device]->device->Map(work.offset);
      }
    }
  }
  std::vector<iovec> pieces;
  for (std::uint32_t key = 0; key < operation.keys.size(); ++key) {
    pieces.clear();
    const layout::BlockShape& shape = operation.keys[key].shape;
    for (std::uint32_t unit = 0; operation.KeyStatus(key) == Status::kOk && unit < shape.units;
         ++unit) {
      if (mapped[key][unit] != nullptr) {
        pieces.push_back({mapped[key][unit], shape.BytesOf(unit)});
      } else {
        AppendPieces(operation.SegmentsOfKey(key), std::uint64_t{unit} * shape.unit_bytes,
                     shape.BytesOf(unit), pieces);
      }
    }
    for (const iovec& piece : pieces) {
      auto* data = static_cast<std::byte*>(piece.iov_base);
      if (views.size() > begin.back() && views.back().data + views.back().bytes == data) {
        views.back().bytes += piece.iov_len;
      } else {
        views.push_back({data, piece.iov_len});
      }
    }
    begin.push_back(views.size());
  }
}

void Store::Unpin(const Operation& operation) {
  MutexLock lock(mutex_);
  for (const KeyWork& key : operation.keys) {
    if (key.entry == kNoEntry) continue;
    GiveLease(key.shape, operation);
    Settle(key.entry, index_.Unpin(key.entry));
  }
}

}  // namespace kvpool::pool
