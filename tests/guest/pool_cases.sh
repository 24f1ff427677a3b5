# A pool over memory and three unequal drives, one of them with blocks of 4096 bytes.

pool_file() {
  cat << END
[pool]
version = 1
catalog = "/tmp/$1.db"

[[device]]
name = "memory"
kind = "memory"
capacity = "64MiB"
read_bandwidth = "1500MB/s"
write_bandwidth = "1500MB/s"
END
  node=/dev/nvme
  [ "$1" != nvme ] || node=/dev/ng
  drive=0
  for speed in $SPEEDS; do
    cat << END

[[device]]
name = "drive$drive"
kind = "$1"
path = "$node${drive}n1"
read_bandwidth = "${speed}MB/s"
write_bandwidth = "${speed}MB/s"
END
    drive=$((drive + 1))
  done
}

# A new pool by one way to the drives, in /tmp/KIND.toml.
made_pool() {
  wipe_drives
  rm -f /tmp/"$1".db*
  pool_file "$1" > /tmp/"$1".toml
  kvpool create --pool /tmp/"$1".toml
}

# What is stored comes back byte for byte, in this process and from a new one.
pool_over() {
  made_pool "$1"
  kvpool trace --sessions 10 --seed 3 --max-input-tokens 16384 > /tmp/trace.jsonl
  kvpool replay /tmp/trace.jsonl --pool /tmp/"$1".toml --bytes-per-block 256KiB
  kvpool info --pool /tmp/"$1".toml
  said=$(kvpool check --pool /tmp/"$1".toml)
  echo "$said" | grep -q '^[1-9][0-9]* blocks.* 0 bad' || fail "check says: $said"
}

case_pool_over_block_devices() {
  pool_over block
}

case_pool_over_passthrough() {
  pool_over nvme
  kvpool info --pool /tmp/nvme.toml | grep -c passthrough | grep -qx 3
}

# The control of both.
case_bytes_that_changed_are_noticed() {
  pool_over block
  dd if=/dev/urandom of=/dev/nvme2n1 bs=1M seek=2 count=100 oflag=direct 2> /dev/null
  refused 'failures on drive2' kvpool check --pool /tmp/block.toml
}

case_bench_on_block_devices() {
  made_pool block
  kvpool bench --pool /tmp/block.toml --context 64MiB --prefix 100 --repeat 1
}

case_drives_that_carry_something_are_refused() {
  made_pool block
  rm -f /tmp/block.db*
  refused label kvpool create --pool /tmp/block.toml
  wipe_drives
  /programs/mke2fs -q -t ext4 /dev/nvme1n1 100M  # by its path: a bare name is busybox's own
  refused ext kvpool create --pool /tmp/block.toml
  mkdir -p /tmp/mounted
  modprobe ext4
  mount -t ext4 /dev/nvme1n1 /tmp/mounted
  refused nvme1n1 kvpool create --pool /tmp/block.toml
  umount /tmp/mounted
}
