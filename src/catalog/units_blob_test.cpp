#include "catalog/units_blob.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/limits.h"

namespace kvpool::catalog {
namespace {

using layout::UnitRecord;

bool Same(const std::vector<UnitRecord>& a, const std::vector<UnitRecord>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.device() == y.device() && x.offset() == y.offset() && x.checksum() == y.checksum();
  });
}

TEST(UnitsBlob, IsTheDocumentedBytes) {
  std::vector<std::byte> blob;
  EncodeUnits(std::vector{UnitRecord(2, 0x123456000, 0x1122334455667788)}, blob);
  const unsigned char expected[] = {1, 0, 1,    0,    0x56, 0x34, 0x12, 0,    0,    0,
                                    0, 2, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
  ASSERT_EQ(blob.size(), sizeof(expected));
  EXPECT_EQ(std::memcmp(blob.data(), expected, sizeof(expected)), 0);
}

RC_GTEST_PROP(UnitsBlob, DecodesWhatItEncoded, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(1, 100);
  std::vector<UnitRecord> units;
  for (std::size_t i = 0; i < count; ++i) {
    units.emplace_back(*rc::gen::inRange<layout::DeviceIndex>(0, kMaxDevices),
                       *rc::gen::arbitrary<std::uint64_t>() >> 24 << 12,
                       *rc::gen::arbitrary<std::uint64_t>());
  }
  std::vector<std::byte> blob;
  EncodeUnits(units, blob);
  std::vector<UnitRecord> decoded;
  RC_ASSERT(DecodeUnits(blob, decoded));
  RC_ASSERT(Same(units, decoded));
}

TEST(UnitsBlob, TakesTheMost) {
  const std::vector<UnitRecord> units(kMaxUnitsPerBlock, UnitRecord(63, 4096, 1));
  std::vector<std::byte> blob;
  std::vector<UnitRecord> decoded;
  EncodeUnits(units, blob);
  ASSERT_TRUE(DecodeUnits(blob, decoded));
  EXPECT_TRUE(Same(units, decoded));
}

TEST(UnitsBlob, RefusesWhatIsNotOne) {
  std::vector<std::byte> good;
  EncodeUnits(std::vector<UnitRecord>(3, UnitRecord(1, 4096, 7)), good);
  std::vector<UnitRecord> units;
  ASSERT_TRUE(DecodeUnits(good, units));
  const auto refuses = [&](std::vector<std::byte> blob) {
    return !DecodeUnits(blob, units) && units.empty();
  };
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_TRUE(refuses({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)})) << size;
  }
  const auto with = [&](std::size_t at, int value) {
    std::vector<std::byte> blob = good;
    blob.at(at) = static_cast<std::byte>(value);
    return blob;
  };
  EXPECT_TRUE(refuses(with(0, 2))) << "another format";
  EXPECT_TRUE(refuses(with(1, 1))) << "a reserved byte";
  EXPECT_TRUE(refuses(with(2, 4))) << "another count";
  EXPECT_TRUE(refuses(with(9, 1))) << "an offset that no device has";
  EXPECT_TRUE(refuses(with(11, 64))) << "a device beyond the limit";
  good.push_back(std::byte{0});
  EXPECT_TRUE(refuses(good)) << "trailing bytes";
}

}  // namespace
}  // namespace kvpool::catalog
