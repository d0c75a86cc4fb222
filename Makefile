# SPDX-License-Identifier: Apache-2.0
# The two commands of the README and some short ways; meson does the building.
#
#   make demo      sets the machine up, builds, and moves a VM between two hosts on this machine
#   make check     sets the machine up and runs every check that there is
#   make check-model   has Spin check the handover's model
#   make check-faults  breaks moves at every point in every way and looks what comes of it
#   make torture   breaks moves at random: TORTURE_SECONDS=n TORTURE_SEED=n
#   make bench     measures Mudanza and virsh side by side
#   make bench-micro   measures the stream engine's parts, in GB/s a core
#   make           builds build/mudanza and build/mudanzad
#   make install   installs them (PREFIX=/usr/local, DESTDIR=)
PREFIX ?= /usr/local

programs: build/build.ninja
	@ninja -C build --quiet

build/build.ninja:
	@mkdir -p build
	@meson setup build --prefix=$(PREFIX) -Dwerror=true >build/configure.log || \
		{ cat build/configure.log; exit 1; }

demo:
	@scripts/setup demo
	@$(MAKE) --no-print-directory programs
	@build/mudanza demo

check:
	@scripts/setup check
	@scripts/check

# One part of the checks: "scripts/check --list" names them.
unit asan tsan fuzz tidy integration:
	@scripts/setup check
	@scripts/check $@

# The handover's model, exhaustively, and its broken variants.
check-model:
	@scripts/setup check
	@model/check

# A build that can inject faults; -k REGEX, -j N and the like go into CELLS.
FAULTS = @[ -e build/faults/build.ninja ] || meson setup build/faults -Dfaults=true -Dwerror=true >/dev/null; \
	ninja -C build/faults --quiet mudanza mudanzad tests/guest/guest.elf

check-faults:
	@scripts/setup check
	$(FAULTS)
	@tests/run-integration --folder faults --build build/faults --count cells $(CELLS)

torture:
	@scripts/setup check
	$(FAULTS)
	@tests/faults/torture --seconds $(or $(TORTURE_SECONDS),60) $(if $(TORTURE_SEED),--seed $(TORTURE_SEED))

# Side by side with virsh, some 25 minutes; CASES=a,b and REPEAT=n choose less or more.
bench:
	@scripts/setup bench
	@$(MAKE) --no-print-directory programs
	@bench/run $(if $(CASES),--cases $(CASES)) $(if $(REPEAT),--repeat $(REPEAT))

# What one core does with a captured stream; ROUNDS=n, ONLY=text, STREAM=file.
bench-micro:
	@scripts/setup check
	@$(MAKE) --no-print-directory programs
	@ninja -C build --quiet bench/micro/bench_micro
	@bench/micro/run $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only "$(ONLY)") $(STREAM)

format:
	@find src tests \( -name '*.c' -o -name '*.h' \) -print0 | xargs -0 clang-format -i

install: programs
	@meson configure build --prefix=$(PREFIX)
	@meson install -C build

clean:
	@rm -rf build

.PHONY: programs demo check check-model check-faults torture bench unit asan tsan fuzz tidy integration format install clean
