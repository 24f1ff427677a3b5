// spdk_test --address=TRANSPORT-ID [--control=COMMAND]: the tests of SPDK devices, on a drive whose
// bytes may be lost. With --refused=TEXT instead: the address is refused, by a sentence with TEXT.
#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>

#include "device/spdk/spdk_test_support.h"

int main(int argc, char** argv) {
  using kvpool::device::spdk_setting;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--address=")) spdk_setting.address = argument.substr(10);
    if (argument.starts_with("--control=")) spdk_setting.control = argument.substr(10);
    if (argument.starts_with("--refused=")) spdk_setting.refused = argument.substr(10);
  }
  ::testing::InitGoogleTest(&argc, argv);
  if (spdk_setting.address.empty() && !GTEST_FLAG_GET(list_tests)) {
    std::puts("skipped: name a drive whose bytes may be lost, --address=TRANSPORT-ID");
    return 77;
  }
  if (!spdk_setting.refused.empty()) GTEST_FLAG_SET(filter, "SpdkRefusal.*");
  return RUN_ALL_TESTS();
}
