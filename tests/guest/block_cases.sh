# Devices on the guest's memory and drives, by the programs that test them elsewhere.

case_memory_of_two_nodes() {
  mem_test --gtest_brief=1
}

case_loop_devices() {
  device_test --gtest_brief=1 --gtest_filter='BlockDevice*'
}

case_block_devices_keep_the_contract() {
  drive_test --gtest_brief=1 --drive=block:/dev/nvme0n1 --drive=block:/dev/nvme1n1
}
