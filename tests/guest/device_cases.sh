# Devices on the guest's memory and drives, by the programs that test them elsewhere.

case_memory_of_two_nodes() {
  mem_test --gtest_brief=1
}

case_loop_devices() {
  device_test --gtest_brief=1 --gtest_filter='BlockDevice*'
}

case_drives_keep_the_contract() {
  drive_test --gtest_brief=1 --drive=block:/dev/nvme0n1 --drive=block:/dev/nvme1n1 \
    --drive=nvme:/dev/ng1n1
}

case_probe_measures_a_drive() {
  kvpool probe --memory 0 /dev/nvme2n1 > /tmp/probed
  cat /tmp/probed
  speed=${SPEEDS##* }
  awk -v speed="$speed" '
    $1 == "/dev/nvme2n1" && $3 == "MB/s" && $2 > speed / 2 && $2 < speed * 1.2 { good = 1 }
    END { exit !good }' /tmp/probed || fail "probe does not give drive 2 about $speed MB/s"
}
