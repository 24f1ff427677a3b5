# What people type; all the rest is CMake's. `make` installs what is missing and builds.
PREFIX ?= /usr/local
SECONDS ?= 60
JOBS ?= $(shell nproc)
SEEDS ?= 10000
SEED ?=
VERBOSE ?=

.PHONY: all deps dev-deps guest-deps test test-daemon test-engines test-guest test-spdk sim sim-control test-san crash crash-guest bench-drives bench-gpu bench-ttft demo check fuzz install clean

all: deps
	cmake --preset release $$(command -v ccache > /dev/null && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
	cmake --build build --parallel $(JOBS)

deps:
	@scripts/install-deps

dev-deps:
	@scripts/install-deps --dev

# Where the guest cannot be had its tests are skipped.
guest-deps:
	@scripts/install-deps --guest && tests/guest/build || echo "kvpool: so the guest's tests are skipped"

test: all guest-deps
	JOBS=$(JOBS) scripts/test-san --quick
	ctest --test-dir build --output-on-failure --parallel $(JOBS)

# The emulated machine's tests alone, and what they say.
test-guest: all guest-deps
	ctest --test-dir build --verbose --label-regex '^guest$$'

# The daemon under clients that are killed, stalled and lying; KILLS of them.
test-daemon: KILLS ?= 12
test-daemon: all
	KVPOOL_KILLS=$(KILLS) ctest --test-dir build --output-on-failure --label-regex '^daemon$$'

# The engines themselves, each in an environment of its own under build/engines: large downloads.
test-engines: all
	@failed=0; for run in tests/engines/*/run; do $$run || failed=1; done; exit $$failed

# Drives from user space; says so and succeeds where SPDK is not installed.
test-spdk: all
	@tests/spdk/run build/tests/spdk_test || [ $$? -eq 77 ]
	@tests/spdk/run_guest build/tests/spdk_test || [ $$? -eq 77 ]

# The whole pool on a fake clock, faulty drives and seeded crashes: SEEDS of them, or SEED alone, and
# with VERBOSE=1 every step of it.
sim: all
	build/tests/kvpool_sim $(if $(SEED),--seed $(SEED) $(if $(VERBOSE),--verbose),--seeds $(SEEDS))

# What is broken on purpose has to be seen: a pool that verifies nothing, that flushes no drive, or
# that gives slots away which a late write may still reach.
sim-control: all
	build/tests/kvpool_sim_unverified --control wrong-bytes --seeds 100
	build/tests/kvpool_sim_unflushed --control any --seeds 100
	build/tests/kvpool_sim_unquarantined --control any --seeds 100
	build/tests/kvpool_sim_unlimited --control any --seeds 100
	build/tests/kvpool_sim_undetached --control wrong-bytes --seeds 100

# The unit and stress tests under the address and undefined-behaviour sanitizers, then the thread sanitizer.
test-san: deps
	JOBS=$(JOBS) scripts/test-san

# kill -9 under load, then a check; ROUNDS times.
crash: ROUNDS ?= 200
crash: all
	tests/crash/run --rounds $(ROUNDS)

# The same by cutting the power of a guest whose drives lose what they had not flushed.
crash-guest: ROUNDS ?= 20
crash-guest: all guest-deps
	@tests/crash/run_guest --rounds $(ROUNDS) || [ $$? -eq 77 ]

# The ways to read a drive, in a guest with emulated NVMe drives: out/drives.json, out/drives.html.
bench-drives: all guest-deps
	scripts/bench-drives

# Time to first token of contexts that a GPU is given back: out/gpu.json, out/gpu.svg. Without a GPU the null stager
# plays one.
bench-gpu: all
	scripts/bench-gpu

# Time to first token in vLLM, by where the KV comes from: out/ttft.json, out/ttft.html. Installs vLLM and LMCache
# as test-engines does; slowing down drives takes root.
bench-ttft: all
	bench/ttft/run

demo: all
	scripts/demo

check: dev-deps all
	scripts/check

# Every fuzz target for SECONDS each.
fuzz: dev-deps
	cmake --preset fuzz
	cmake --build build/fuzz --parallel $(JOBS) --target fuzzers
	scripts/fuzz $(SECONDS)

install: all
	cmake --install build --prefix $(PREFIX)

clean:
	rm -rf build out
