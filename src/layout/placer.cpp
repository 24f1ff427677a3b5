#include "layout/placer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "layout/dealer.h"

namespace kvpool::layout {
namespace {

constexpr std::size_t kTables = 16;
constexpr std::uint64_t kTableUnits = 1 << 18;  // a table's memory, one byte each
constexpr std::uint64_t kLargeUnits = 1024;     // requests worth shares of their own
constexpr std::uint64_t kPlenty = 1 << 20;      // units, where free space does not matter
constexpr double kStepsPerOctave = 1024;        // shares are told apart by 0.07 %

struct Deal {
  std::vector<std::int32_t> shares;  // quantised
  std::uint32_t units_per_block = 0;
  std::uint32_t slices = 0;
  friend bool operator==(const Deal&, const Deal&) = default;
};

constexpr std::int32_t kNoShare = std::numeric_limits<std::int32_t>::min();

// Steps below the largest share, so that a rate that is measured anew and hardly differs deals the
// same rows.
std::vector<std::int32_t> Quantised(std::span<const double> shares) {
  const double largest = *std::max_element(shares.begin(), shares.end());
  std::vector<std::int32_t> steps;
  for (const double share : shares) {
    const double octaves = share > 0 ? std::log2(share / largest) : -1e9;
    steps.push_back(octaves < -20
                        ? kNoShare
                        : static_cast<std::int32_t>(std::lround(octaves * kStepsPerOctave)));
  }
  return steps;
}

std::vector<double> Shares(std::span<const std::int32_t> steps) {
  std::vector<double> shares;
  for (const std::int32_t step : steps) {
    shares.push_back(step == kNoShare ? 0 : std::exp2(step / kStepsPerOctave));
  }
  return shares;
}

// The first rows of one deal; extended as far as they are asked for.
class Table {
 public:
  explicit Table(Deal deal)
      : deal_(std::move(deal)),
        dealer_(Shares(deal_.shares), deal_.units_per_block, deal_.slices),
        limit_(std::max<std::uint64_t>(1, kTableUnits / deal_.units_per_block)) {}

  const Deal& deal() const { return deal_; }

  // Rows repeat after the limit: each round adds the deviation of its end, at most the bound.
  void Copy(std::uint64_t first_row, std::uint32_t rows, DeviceIndex* out) {
    const std::size_t width = deal_.units_per_block;
    while (rows > 0) {
      const std::uint64_t from = first_row % limit_;
      const auto count = std::min<std::uint64_t>(rows, limit_ - from);
      Extend(from + count);
      std::copy_n(units_.data() + from * width, count * width, out);
      out += count * width;
      first_row += count;
      rows -= static_cast<std::uint32_t>(count);
    }
  }

 private:
  void Extend(std::uint64_t rows) {
    const std::size_t width = deal_.units_per_block;
    std::uint64_t row = units_.size() / width;
    if (row >= rows) return;
    units_.resize(rows * width);
    for (; row < rows; ++row) dealer_.DealBlock({units_.data() + row * width, width});
  }

  Deal deal_;
  Dealer dealer_;
  std::uint64_t limit_;
  std::vector<DeviceIndex> units_;
};

std::uint64_t FreeUnits(std::span<const DeviceRate> devices) {
  std::uint64_t sum = 0;
  for (const DeviceRate& device : devices) {
    if (__builtin_add_overflow(sum, device.free_units, &sum)) return ~std::uint64_t{0};
  }
  return sum;
}

using Counts = std::array<std::uint64_t, kMaxDevices>;

Counts CountsOf(std::span<const DeviceIndex> units) {
  Counts counts{};
  for (const DeviceIndex device : units) ++counts[device];
  return counts;
}

bool Fits(const Counts& counts, std::span<const DeviceRate> devices) {
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (counts[d] > devices[d].free_units) return false;
  }
  return true;
}

// The last units of a device that is dealt too many go, one by one, to the device with room that
// would end first with it.
void MoveToRoom(std::span<const DeviceRate> devices, std::span<DeviceIndex> units) {
  Counts planned = CountsOf(units);
  Counts held{};
  for (DeviceIndex& unit : units) {
    if (held[unit]++ < devices[unit].free_units) continue;
    --planned[unit];
    double earliest = std::numeric_limits<double>::infinity();
    for (std::size_t d = 0; d < devices.size(); ++d) {
      if (planned[d] >= devices[d].free_units) continue;
      const double end = static_cast<double>(planned[d] + 1) / devices[d].read_bytes_per_s;
      if (end < earliest) earliest = end, unit = static_cast<DeviceIndex>(d);
    }
    ++planned[unit];
    ++held[unit];
  }
}

}  // namespace

class Placer::Impl {
 public:
  bool Place(const PlacementRequest& request, std::span<DeviceIndex> units) {
    const std::uint64_t needed = std::uint64_t{request.blocks} * request.units_per_block;
    KVPOOL_CHECK(request.devices.size() <= kMaxDevices && units.size() >= needed);
    if (FreeUnits(request.devices) < needed) return false;
    if (needed == 0) return true;
    units = units.first(needed);

    Find(request).Copy(request.first_ordinal, request.blocks, units.data());
    if (Fits(CountsOf(units), request.devices)) return true;
    if (needed >= kLargeUnits) DealWithinFreeSpace(request, units);
    MoveToRoom(request.devices, units);
    return true;
  }

 private:
  // Free space is no part of the deal: it is checked afterwards.
  Table& Find(const PlacementRequest& request) {
    if (!tables_.empty() && AskedAsLast(request)) return *tables_.front();
    last_devices_.assign(request.devices.begin(), request.devices.end());
    last_links_.assign(request.links.begin(), request.links.end());

    std::vector<DeviceRate> devices = last_devices_;
    for (DeviceRate& device : devices) device.free_units = device.closed ? 0 : kPlenty;
    Deal deal{Quantised(OptimalShares(kPlenty, devices, request.links)), request.units_per_block,
              request.slices};
    const auto found = std::find_if(tables_.begin(), tables_.end(),
                                    [&](const auto& table) { return table->deal() == deal; });
    if (found != tables_.end()) {
      std::rotate(tables_.begin(), found, found + 1);
      return *tables_.front();
    }
    if (tables_.size() == kTables) tables_.pop_back();
    tables_.insert(tables_.begin(), std::make_unique<Table>(std::move(deal)));
    return *tables_.front();
  }

  bool AskedAsLast(const PlacementRequest& request) const {
    const Deal& deal = tables_.front()->deal();
    return deal.units_per_block == request.units_per_block && deal.slices == request.slices &&
           std::equal(request.devices.begin(), request.devices.end(), last_devices_.begin(),
                      last_devices_.end(), SameRate) &&
           std::equal(request.links.begin(), request.links.end(), last_links_.begin(),
                      last_links_.end(), SameLink);
  }
  static bool SameRate(const DeviceRate& a, const DeviceRate& b) {
    return a.read_bytes_per_s == b.read_bytes_per_s && a.scarce == b.scarce && a.closed == b.closed;
  }
  static bool SameLink(const LinkRate& a, const LinkRate& b) {
    return a.bytes_per_s == b.bytes_per_s && a.device_mask == b.device_mask;
  }

  // What is free is history, so these rows start afresh with the request.
  void DealWithinFreeSpace(const PlacementRequest& request, std::span<DeviceIndex> units) {
    const std::vector<double> shares =
        OptimalShares(static_cast<double>(units.size()), request.devices, request.links);
    Dealer dealer(shares, request.units_per_block, request.slices);
    for (std::size_t at = 0; at < units.size(); at += request.units_per_block) {
      dealer.DealBlock(units.subspan(at, request.units_per_block));
    }
  }

  std::vector<std::unique_ptr<Table>> tables_;  // last used first
  std::vector<DeviceRate> last_devices_;
  std::vector<LinkRate> last_links_;
};

Placer::Placer() : impl_(std::make_unique<Impl>()) {}
Placer::~Placer() = default;

bool Placer::Place(const PlacementRequest& request, std::span<DeviceIndex> out) {
  return impl_->Place(request, out);
}

}  // namespace kvpool::layout
