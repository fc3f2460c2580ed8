# SPDX-License-Identifier: GPL-2.0-only
#
# Thin targets: the work is done by scripts/, each of which has --help.

.DEFAULT_GOAL := help
.PHONY: help kselftest matrix bisect races explore flake check check-deep observe bench distclean prune-cache clean-cache

# Given on the command line or in the environment, they reach the scripts.
export KERNEL KERNELS TESTS OUT ACCEL CPUS MEM RACES REPEAT SHARD I_KNOW SECONDS COUNT SEED MEMORY \
	SCENARIO SCRIPTS DURATION HOTMIRROR_BPFTRACE

help:
	@echo 'make kselftest [KERNEL=k] [TESTS="glob ..."] [OUT=dir] [ACCEL=auto|kvm|tcg] [CPUS=n] [MEM=size]'
	@echo '                  run the selftests on a kernel in a VM and judge the run'
	@echo '                  k: trixie-backports (default: newest packaged), trixie, bookworm (6.1), path of'
	@echo '                  a built kernel tree, or running (this very machine; read README.md first)'
	@echo '                  [RACES=default|all] [REPEAT=n] [SHARD=i/n]: which schedules, how often'
	@echo 'make matrix [KERNELS="k ..."] [TESTS="glob ..."] [OUT=dir]'
	@echo '                  the suite on each packaged kernel and on what scripts/kbuild built: one table'
	@echo 'make bisect       how to find the commit that broke a test (git bisect run scripts/bisect)'
	@echo 'make races [KERNEL=k] [RACES=default|all] [TESTS="race.glob ..."] [OUT=dir]'
	@echo '                  run the schedules: coverage by pair and memory as text and as a heat map'
	@echo 'make explore [SECONDS=60|COUNT=n] [SEED=n] [MEMORY=glob] [KERNEL=k] [OUT=dir]'
	@echo '                  random schedules; each failure is told as the shortest that still fails'
	@echo 'make flake [KERNEL=k] [OUT=dir]'
	@echo '                  the default schedules 20 times, every verdict compared'
	@echo 'make check        everything: lint, both packaged kernels, the bpf scripts, the runner itself'
	@echo 'make check-deep   the long part: make flake, every schedule, make explore and the model of'
	@echo '                  invalidations from many seeds, 1,000 replugs'
	@echo 'make observe [SCENARIO=name] [SCRIPTS="name ..."] [DURATION=10] [KERNEL=k] [OUT=dir]'
	@echo '                  a workload with bpftrace scripts attached, then a report; the names:'
	@echo '                  scripts/observe --help; a command on this machine: scripts/observe -- command'
	@echo 'make bench        both modules, ours and upstream test_hmm, measured side by side in one guest'
	@echo 'make bench BENCH=bpf    what each bpftrace script costs while it is attached'
	@echo 'make bench BENCH=dax    unplug of a dax instance beside that of a real device-dax'
	@echo 'make bench BENCH=races  how often upstream'"'"'s random loop survives a fault in the device'
	@echo '                  that one of our schedules catches at once (about half an hour)'
	@echo 'make bench BENCH=times  how long the selftests take, as README.md says (boot, warm, cold)'
	@echo 'scripts/results   what a run left in OUT as JUnit XML, for KCIDB, and as a LAVA job (--help)'
	@echo 'scripts/in-tree   the module and the tests as commits in a kernel git tree (--help)'
	@echo 'make distclean    remove what this checkout made (out/, in-place build products)'
	@echo 'make prune-cache  remove from the cache what nobody used for 14 days'
	@echo 'make clean-cache  remove the guest, the kernel sources and the builds in the cache'
	@echo
	@echo 'Exit status of kselftest: 0 passed, 1 failed, 2 could not judge. make turns both 1 and 2'
	@echo 'into its own status 2; scripts/kselftest and OUT/summary.json tell them apart.'

kselftest:
	@scripts/need-python scripts/kselftest

matrix:
	@scripts/need-python scripts/matrix

bisect:
	@cat scripts/bisect.d/how

races:
	@scripts/need-python scripts/races

explore:
	@scripts/need-python scripts/explore

flake:
	@scripts/need-python scripts/flake

check:
	@scripts/need-python scripts/check

check-deep:
	@scripts/need-python scripts/check --deep

observe:
	@scripts/need-python scripts/observe

BENCH ?= hmm
bench:
	@case '$(BENCH)' in \
	hmm) scripts/need-python scripts/bench-hmm ;; \
	bpf) scripts/need-python scripts/bench-bpf ;; \
	dax) scripts/need-python scripts/bench-dax ;; \
	races) scripts/need-python scripts/bench-races ;; \
	times) scripts/need-python scripts/bench --cold ;; \
	*) echo 'hotmirror: error: BENCH=$(BENCH) is unknown; use hmm (default), bpf, dax, races or times' >&2; exit 2 ;; \
	esac

distclean:
	@scripts/distclean

prune-cache:
	@scripts/need-python scripts/guest --prune

clean-cache:
	@scripts/need-python scripts/guest --clean
