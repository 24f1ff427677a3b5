// Shapes and unit records: how one block lies on devices.
#pragma once

#include <cstdint>

namespace kvpool::layout {

using DeviceIndex = std::uint8_t;  // position in the pool's list of devices

// How a block is cut into units: unit u is bytes [u * unit_bytes, ...) of the block, the last one
// may be shorter. Each unit takes one slot of slot_bytes on its device.
struct BlockShape {
  std::uint64_t block_bytes = 0;
  std::uint32_t units = 0;
  std::uint32_t unit_bytes = 0;  // a multiple of 4 KiB, at most the pool's unit
  std::uint32_t slot_bytes = 0;  // unit_bytes, at least kMinSlotBytes

  std::uint32_t BytesOf(std::uint32_t unit) const {
    return unit + 1 < units
               ? unit_bytes
               : static_cast<std::uint32_t>(block_bytes - std::uint64_t{unit_bytes} * (units - 1));
  }
  friend bool operator==(const BlockShape&, const BlockShape&) = default;
};

// As few units as the pool's unit allows, as equal as 4 KiB steps allow, so that a 257 KiB block
// takes two slots of 132 KiB and not two of 256. block_bytes > 0.
BlockShape ShapeOf(std::uint64_t block_bytes, std::uint32_t pool_unit_bytes);

// What the index and the catalog keep of a unit: 16 bytes.
class UnitRecord {
 public:
  UnitRecord() = default;
  UnitRecord(DeviceIndex device, std::uint64_t offset, std::uint64_t checksum)
      : place_(std::uint64_t{device} << 56 | offset >> 12), checksum_(checksum) {}
  // Of a unit that is nowhere: no pool has so many devices.
  static UnitRecord Nowhere() { return {kNoDevice, 0, 0}; }
  bool IsNowhere() const { return device() == kNoDevice; }

  DeviceIndex device() const { return static_cast<DeviceIndex>(place_ >> 56); }
  std::uint64_t offset() const { return (place_ & ((std::uint64_t{1} << 40) - 1)) << 12; }
  std::uint64_t checksum() const { return checksum_; }
  friend bool SamePlace(const UnitRecord& a, const UnitRecord& b) { return a.place_ == b.place_; }
  void set_checksum(std::uint64_t checksum) { checksum_ = checksum; }

 private:
  static constexpr DeviceIndex kNoDevice = 0xff;

  std::uint64_t place_ = 0;     // device in the top 8 bits, 4 KiB pages in the low 40
  std::uint64_t checksum_ = 0;  // UnitChecksum of the unit's bytes
};
static_assert(sizeof(UnitRecord) == 16);

}  // namespace kvpool::layout
