#include "base/units.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace kvpool {
namespace {

TEST(ParseBytes, TakesBinaryAndDecimalUnits) {
  EXPECT_EQ(ParseBytes("4096").value(), 4096u);
  EXPECT_EQ(ParseBytes("64KiB").value(), 64 * kKiB);
  EXPECT_EQ(ParseBytes(" 2 GiB ").value(), 2 * kGiB);
  EXPECT_EQ(ParseBytes("1.5MiB").value(), 3 * kMiB / 2);
  EXPECT_EQ(ParseBytes("800MB").value(), 800'000'000u);
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "GiB", "12 apples", "-1MiB", "nan", "1e30", "2GiBx"}) {
    const auto result = ParseBytes(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().status, Status::kInvalid);
    EXPECT_NE(result.error().message.find("such as 2GiB"), std::string::npos);
  }
}

TEST(FormatBytes, IsExactWhereItCanBe) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(2 * kGiB), "2 GiB");
  EXPECT_EQ(FormatBytes(1536 * kKiB), "1.50 MiB");
}

TEST(FormatRate, IsDecimal) {
  EXPECT_EQ(FormatRate(8e8), "800 MB/s");
  EXPECT_EQ(FormatRate(3e9), "3.00 GB/s");
}

}  // namespace
}  // namespace kvpool
