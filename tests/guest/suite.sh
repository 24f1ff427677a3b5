#!/bin/sh
# Runs in the guest: every case_NAME function of the *_cases.sh files that came along, each in a
# shell of its own that stops at the first command that fails. Prints a line a case and a summary.
#   suite.sh [NAME...]
# A case ends with 77 to be skipped; its last line says why. SPEEDS are what the drives were given.
SPEEDS=${SPEEDS:-800 400 200}
DRIVES='0 1 2'

for file in /programs/*_cases.sh; do . "$file"; done

# --- what cases use ---

fail() {
  echo "$*"
  exit 1
}

skip() {
  echo "$*"
  exit 77
}

# refused WORD COMMAND...: the command fails and names WORD.
refused() {
  word=$1
  shift
  ! said=$("$@" 2>&1) || fail "'$*' was not refused"
  echo "$said" | grep -q -- "$word" || fail "'$*' does not name $word: $said"
}

now_ms() { awk '{ print $1 * 1000 }' /proc/uptime; }

# Without a label, a filesystem or a table.
wipe_drives() {
  for drive in $DRIVES; do
    dd if=/dev/zero of=/dev/nvme${drive}n1 bs=1M count=4 oflag=direct 2> /dev/null
  done
}

# --- the runner ---

if [ "$1" = --one ]; then
  set -e
  "case_$2"
  exit
fi

names=${*:-$(sed -n 's/^case_\([a-z0-9_]*\)().*/\1/p' /programs/*_cases.sh)}
passed=0 failed=0 skipped=0
for name in $names; do
  start=$(now_ms)
  sh "$0" --one "$name" > /tmp/said 2>&1
  code=$?
  took=$((($(now_ms) - start) / 100))
  took="$((took / 10)).$((took % 10)) s"
  last=$(tail -n 1 /tmp/said)
  case $code in
    0) passed=$((passed + 1)); echo "ok $name ($took)" ;;
    77) skipped=$((skipped + 1)); echo "skipped $name: $last" ;;
    *)
      failed=$((failed + 1))
      echo "FAILED $name: exit code $code after '$last'"
      sed 's/^/    /' /tmp/said | tail -n 40
      ;;
  esac
done
echo "guest: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
