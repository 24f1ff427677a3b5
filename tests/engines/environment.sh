# shellcheck shell=bash
# What the `run` scripts of the engines share. Sourced: sets `here`, the script's folder, and `build`, and leaves with
# one sentence where kvpool's Python package is not built.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
build=${KVPOOL_BUILD:-$root/build}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONPATH=$build/python:$here:$root/python/tests
[ -f "$build/python/kvpool/__init__.py" ] || { echo 'kvpool: the Python package is not built: run make' >&2; exit 1; }

# new_environment FOLDER WHAT: makes an empty virtual environment, for WHAT. False where there is one that was finished:
# after installing, touch FOLDER/.complete.
new_environment() {
  [ ! -f "$1/.complete" ] || return 1
  echo "kvpool: installing $2 under $1" >&2
  rm -rf "$1"
  "${PYTHON:-python3}" -m venv "$1" || exit 1  # errexit is off in a condition
}

# run_tests FOLDER ENGINE CODE TEST...: runs tests in a virtual environment, and ends the script with their status and
# one line that names the engine, its version, which Python's CODE prints, and what passed.
run_tests() {
  local python=$1/bin/python engine=$2 code=$3 status=0 installed ran
  shift 3
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  "$python" -B -m unittest -v "$@" 2>&1 | tee "$log" || status=$?
  installed=$("$python" -c "$code" 2> /dev/null) || installed='of an unknown version'
  ran=$(sed -n 's/^Ran \([0-9]*\) tests\? .*/\1/p' "$log")
  if [ "$status" = 0 ]; then
    echo "$engine $installed: ${ran:-0} tests passed"
  else
    echo "$engine $installed: FAILED, of ${ran:-0} tests: $(tail -n 1 "$log")"
  fi
  exit "$status"
}
