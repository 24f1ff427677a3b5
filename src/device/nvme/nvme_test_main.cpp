// nvme_test DRIVE...: tests on the first drive and, where they need it, others, which lose what
// they hold. Only drives that tests/guest made are taken.
#include <cstdio>
#include <cstring>

#include "device/nvme/nvme_test_support.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  auto& drives = kvpool::device::TestDrives();
  for (int i = 1; i < argc; ++i) drives.emplace_back(argv[i]);
  if (drives.empty()) {
    std::puts(
        "skipped: name the drives that may be overwritten, as in tests/guest/run -- nvme_test "
        "/dev/ng0n1");
    return 77;
  }
  for (const std::string& drive : drives) {
    if (kvpool::device::IsOfTheGuest(drive)) continue;
    std::printf("%s is not a drive of tests/guest: nothing was touched\n", drive.c_str());
    return 2;
  }
  return RUN_ALL_TESTS();
}
