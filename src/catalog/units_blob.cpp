#include "catalog/units_blob.h"

#include "base/check.h"
#include "base/limits.h"

namespace kvpool::catalog {
namespace {

constexpr int kDeviceShift = 56;
constexpr int kPageShift = 12;
constexpr std::uint64_t kMaxPages = std::uint64_t{1} << 40;

void PutLittleEndian(std::uint64_t value, std::byte* out) {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

std::uint64_t GetLittleEndian(const std::byte* in) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= std::to_integer<std::uint64_t>(in[i]) << (8 * i);
  return value;
}

}  // namespace

void EncodeUnits(std::span<const layout::UnitRecord> units, std::vector<std::byte>& blob) {
  KVPOOL_CHECK(!units.empty() && units.size() <= kMaxUnitsPerBlock);
  blob.resize(kUnitsHeaderBytes + units.size() * kUnitBytes);
  blob[0] = std::byte{kUnitsFormat};
  blob[1] = std::byte{0};
  blob[2] = static_cast<std::byte>(units.size());
  blob[3] = static_cast<std::byte>(units.size() >> 8);
  std::byte* out = blob.data() + kUnitsHeaderBytes;
  for (const layout::UnitRecord& unit : units) {
    PutLittleEndian(std::uint64_t{unit.device()} << kDeviceShift | unit.offset() >> kPageShift,
                    out);
    PutLittleEndian(unit.checksum(), out + 8);
    out += kUnitBytes;
  }
}

bool DecodeUnits(std::span<const std::byte> blob, std::vector<layout::UnitRecord>& units) {
  units.clear();
  if (blob.size() < kUnitsHeaderBytes) return false;
  if (blob[0] != std::byte{kUnitsFormat} || blob[1] != std::byte{0}) return false;
  const auto count = std::to_integer<std::size_t>(blob[2]) | std::to_integer<std::size_t>(blob[3])
                                                                 << 8;
  if (count == 0 || count > kMaxUnitsPerBlock) return false;
  if (blob.size() != kUnitsHeaderBytes + count * kUnitBytes) return false;
  units.reserve(count);
  for (const std::byte* in = blob.data() + kUnitsHeaderBytes; units.size() < count;
       in += kUnitBytes) {
    const std::uint64_t place = GetLittleEndian(in);
    const std::uint64_t device = place >> kDeviceShift;
    const std::uint64_t page = place & ((std::uint64_t{1} << kDeviceShift) - 1);
    if (device >= kMaxDevices || page >= kMaxPages) {
      units.clear();
      return false;
    }
    units.emplace_back(static_cast<layout::DeviceIndex>(device), page << kPageShift,
                       GetLittleEndian(in + 8));
  }
  return true;
}

}  // namespace kvpool::catalog
