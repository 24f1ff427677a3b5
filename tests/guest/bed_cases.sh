# The test bed itself: what the other cases lean on.

case_nodes() {
  for node in 0 1; do
    kib=$(awk '/MemTotal/ { print $4 }' /sys/devices/system/node/node$node/meminfo)
    [ "$kib" -gt 500000 ] || fail "node $node has $kib KiB"
  done
}

case_drives() {
  for drive in $DRIVES; do
    [ -b /dev/nvme${drive}n1 ] && [ -c /dev/ng${drive}n1 ] || fail "drive $drive has no device"
    [ "$(tr -d ' ' < /sys/class/nvme/nvme$drive/serial)" = drive$drive ] ||
      fail "drive $drive has another serial number"
    [ "$(cat /sys/block/nvme${drive}n1/size)" = 1048576 ] || fail "drive $drive is not 512 MiB"
  done
  blocks=$(cat /sys/block/nvme?n1/queue/logical_block_size | tr '\n' ' ')
  [ "$blocks" = '512 4096 512 ' ] || fail "logical blocks are $blocks"
}

# A drive is never early; how late it is with one request at a time says more about this machine's
# load. The first read uses up what an idle throttle has saved.
case_speeds() {
  drive=0
  for speed in $SPEEDS; do
    dd if=/dev/nvme${drive}n1 of=/dev/null bs=1M count=128 iflag=direct 2> /dev/null
    start=$(now_ms)
    dd if=/dev/nvme${drive}n1 of=/dev/null bs=1M count=256 skip=128 iflag=direct 2> /dev/null
    reached=$((268435 / ($(now_ms) - start)))
    echo "drive $drive: $reached MB/s of $speed"
    [ $reached -le $((speed * 11 / 10)) ] && [ $reached -ge $((speed / 8)) ] ||
      fail "drive $drive reads $reached MB/s, not $speed"
    drive=$((drive + 1))
  done
}

# A check that cannot fail is none.
case_speeds_that_are_not_so_are_noticed() {
  refused 'drive 0 reads .* not 60' env SPEEDS='60 400 200' sh "$0" speeds
  refused 'drive 0 reads .* not 9000' env SPEEDS='9000 400 200' sh "$0" speeds
}

case_vfio_takes_a_drive_and_gives_it_back() {
  [ -n "$(ls /sys/kernel/iommu_groups)" ] || skip 'no IOMMU: run with --iommu'
  address=$(basename "$(readlink /sys/class/nvme/nvme2/device)")
  rebind "$address" vfio-pci
  [ ! -e /dev/nvme2n1 ] || fail 'the kernel still has the drive'
  [ -c /dev/vfio/"$(basename "$(readlink /sys/bus/pci/devices/"$address"/iommu_group)")" ]
  rebind "$address" nvme
  tries=0
  until [ -b /dev/nvme2n1 ]; do
    [ $((tries += 1)) -lt 100 ] || fail 'the kernel does not have the drive back'
    usleep 50000
  done
}
