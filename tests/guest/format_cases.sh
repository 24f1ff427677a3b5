# kvpool format, and drives that are found by their labels.

case_format_takes_what_carries_nothing() {
  wipe_drives
  kvpool format /dev/nvme0n1 > /tmp/formatted
  grep -q 'serial drive0, carried nothing known: wiped, and told' /tmp/formatted
  kvpool format /dev/ng1n1 --confirm drive1 | grep -q 'serial drive1'
  refused 'is the drive drive0 and not drive1' kvpool format /dev/nvme0n1 --confirm drive1
}

case_format_wants_to_be_told_twice() {
  wipe_drives
  /programs/mke2fs -q -t ext4 /dev/nvme0n1 100M
  before=$(dd if=/dev/nvme0n1 bs=1M count=100 iflag=direct 2> /dev/null | md5sum)
  for how in '' --force '--confirm drive0'; do
    refused 'ext filesystem.*--force --confirm drive0' kvpool format /dev/nvme0n1 $how
  done
  refused 'not drive1' kvpool format /dev/nvme0n1 --force --confirm drive1
  [ "$before" = "$(dd if=/dev/nvme0n1 bs=1M count=100 iflag=direct 2> /dev/null | md5sum)" ] ||
    fail 'a refused format changed the drive'
  kvpool format /dev/nvme0n1 --force --confirm drive0
  kvpool probe --memory 0 | grep '^drive /dev/nvme0n1' | grep -q carries && fail 'it still carries something'
  made_pool drive
}

case_format_never_wipes_what_is_mounted() {
  wipe_drives
  /programs/mke2fs -q -t ext4 /dev/nvme1n1 100M
  modprobe ext4
  mkdir -p /tmp/mounted
  mount -t ext4 /dev/nvme1n1 /tmp/mounted
  echo precious > /tmp/mounted/file
  for node in /dev/nvme1n1 /dev/ng1n1; do
    refused 'in use' kvpool format $node --force --confirm drive1
  done
  kvpool probe --memory 0 --json /tmp/probe.json
  grep '"drive":"/dev/nvme1n1","path":"file","possible":true,"chosen":true' /tmp/probe.json
  grep '"drive":"/dev/nvme1n1","path":"nvme","possible":false.*mounted on /tmp/mounted' /tmp/probe.json
  umount /tmp/mounted
  mount -t ext4 /dev/nvme1n1 /tmp/mounted
  grep -q precious /tmp/mounted/file
  umount /tmp/mounted
}

case_format_asks_before_another_pools_label_goes() {
  made_pool nvme
  refused 'a kvpool label.*--confirm drive2' kvpool format /dev/nvme2n1
  kvpool format /dev/nvme2n1 --force --confirm drive2
  does_without 'carries no kvpool label' /tmp/nvme.toml
}

# does_without WORDS POOL: the pool goes on with the other drives, and says why.
does_without() {
  said=$(kvpool info --pool "$2" 2>&1) || fail "info failed: $said"
  echo "$said" | grep -q drained || fail "no drive is called drained: $said"
  echo "$said" | grep -q -- "$1" || fail "info does not say \"$1\": $said"
}

# As after a restart of the machine that numbers its drives anew.
case_drives_are_found_by_their_labels() {
  for kind in nvme block drive; do
    pool_over $kind
    sed -e 's,/\(nvme\|ng\)0n1,/\10X1,; s,/\(nvme\|ng\)2n1,/\10n1,; s,0X1,2n1,' /tmp/$kind.toml > /tmp/swapped.toml
    sed -e 's,/\(nvme\|ng\)1n1,/\19n1,' /tmp/$kind.toml > /tmp/moved.toml
    for file in swapped moved; do
      kvpool info --pool /tmp/$file.toml > /tmp/said
      grep 'found by its label' /tmp/said
      said=$(kvpool check --pool /tmp/$file.toml)
      echo "$said" | grep -q '^[1-9][0-9]* blocks.* 0 bad' || fail "$file: check says: $said"
    done
  done
}

case_a_drive_that_is_gone_is_named() {
  made_pool drive
  dd if=/dev/zero of=/dev/nvme1n1 bs=1M count=4 oflag=direct 2> /dev/null
  does_without 'nvme1n1 carries no kvpool label.*no drive of this machine' /tmp/drive.toml
}
