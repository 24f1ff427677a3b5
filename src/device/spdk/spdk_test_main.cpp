// spdk_test --address=TRANSPORT-ID [--control=COMMAND]: the tests of SPDK devices, on a drive whose
// bytes may be lost.
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
  }
  ::testing::InitGoogleTest(&argc, argv);
  if (spdk_setting.address.empty() && !GTEST_FLAG_GET(list_tests)) {
    std::puts("skipped: name a drive whose bytes may be lost, --address=TRANSPORT-ID");
    return 77;
  }
  return RUN_ALL_TESTS();
}
