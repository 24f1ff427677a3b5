#include "bench/drives/drives.h"

#include <gtest/gtest.h>

#include "bench/drives/contenders.h"
#include "bench/drives/drive.h"

namespace kvpool::bench {
namespace {

TEST(SpdkPerf, ItsTotalIsRead) {
  const std::string text =
      "Initializing NVMe Controllers\n"
      "====\n"
      "                                  Latency(us)\n"
      "Device Information :       IOPS      MiB/s    Average        min        max\n"
      "PCIE (0000:00:04.0) NSID 1 from core 0:  400.00  400.00  38000.00  100.00  40000.00\n"
      "PCIE (0000:00:05.0) NSID 1 from core 0:  200.50  200.50  38000.00  100.00  40000.00\n"
      "====\n"
      "Total                                  :  600.50  600.50  38000.00  100.00  40000.00\n\n";
  EXPECT_DOUBLE_EQ(ParseSpdkPerf(text).value_or(0), 600.5 * 1048576);
  EXPECT_FALSE(ParseSpdkPerf("no controllers found\n"));
  EXPECT_FALSE(ParseSpdkPerf("\nTotal : many\n"));
  EXPECT_FALSE(ParseSpdkPerf(""));
}

TEST(Drives, OnlyWholeDrivesAreTaken) {
  for (const char* path : {"/dev/null", "/proc/self/exe", "/nowhere", "/dev", ""}) {
    const auto drive = FindDrive(path);
    ASSERT_FALSE(drive) << path;
    EXPECT_EQ(drive.error().status, Status::kInvalid);
  }
}

TEST(Drives, NoneIsAMistake) {
  const auto result = RunDrivesBench({});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().status, Status::kInvalid);
}

TEST(Drives, MethodsAreKnownByName) {
  EXPECT_TRUE(ParseDriveMethods("serial,pool-nvme,spdk-perf"));
  EXPECT_FALSE(ParseDriveMethods("pool"));
}

}  // namespace
}  // namespace kvpool::bench
