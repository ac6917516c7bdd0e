# Builds, installs and tests pymalloc: `make help` lists what there is.
#
# Cargo does the building; this file owns the names and places of what comes out of it. A target that only needs the
# library built does not call cargo when no source has changed, so `sudo make install` works without a Rust for root.

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR     ?= $(PREFIX)/bin
DATADIR    ?= $(PREFIX)/share
DESTDIR    ?=
CARGO      ?= cargo
OBJCOPY    ?= objcopy
# Seeds of `make soak`.
SEEDS      ?= 50

CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOVERSION := 0
# Of the library; pymalloc-watch has its own beside them.
SOURCES := Cargo.toml c/Cargo.toml $(wildcard Cargo.lock .cargo/config.toml) build.rs $(shell find src c/src -name '*.rs')

RELEASE    := $(CARGO_TARGET_DIR)/release
SMALL      := $(CARGO_TARGET_DIR)/small
SHARED     := $(RELEASE)/libpymalloc.so
STATIC     := $(RELEASE)/libpymalloc.a
DEEPBIND   := $(RELEASE)/libpymalloc-deepbind.so
WATCH      := $(RELEASE)/pymalloc-watch
HEADER     := include/pymalloc.h
LIBRARY    := libpymalloc.so.$(VERSION)
CMAKEDIR   := $(LIBDIR)/cmake/pymalloc
# Where the tests say what they skip.
SKIPPED    := $(CARGO_TARGET_DIR)/tmp/skipped
# The parts of pymalloc and of pymalloc-heapmap; the name of the latter in BINDIR is a link.
PARTSDIR   := $(DATADIR)/pymalloc

# Where a person waits for a build, cargo shows what it does.
QUIET = --quiet
demo-library watch: QUIET =
demo-library watch: CARGO := scripts/patiently $(CARGO)
BUILD = $(CARGO) build $(QUIET) --package pymalloc-c
# $(call filled,TEMPLATE,FILE): the template with its @NAMES@ replaced, as FILE under DESTDIR.
filled = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@SOVERSION@|$(SOVERSION)|g' -e 's|@PREFIX@|$(PREFIX)|g' \
	-e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' \
	-e "s|@LIBDIR_TO_INCLUDEDIR@|$(call way,$(LIBDIR),$(INCLUDEDIR))|g" \
	$(1) > $(DESTDIR)$(2) && chmod 644 $(DESTDIR)$(2)
# $(call way,FROM,TO): the path from one folder to another, so that what is installed can be moved.
way = $$(realpath -ms --relative-to=$(1) $(2))
built = printf '%-36s %5d KiB\n' $@ $$(($$(stat -c %s $@) / 1024))

.PHONY: all small deepbind watch header install uninstall test test-deps test-default test-small test-checked test-loom test-mutations test-aarch64 test-old-glibc test-musl test-musl-aarch64 test-musl-python test-platforms test-huge-pages check lint deny oldest-rust demo demo-library figures \
	bench bench-memory bench-check bench-instructions bench-start bench-latency count-locks install-peers wheel-files wheels test-wheels test-deploy release deb test-deb cpython-suite soak fuzz clean help
.DEFAULT_GOAL := all

all: $(SHARED) $(STATIC) $(DEEPBIND) $(HEADER) ## the shared library, the static one, the one for plugins, and the header (the default)

$(SHARED): $(SOURCES)
	@$(BUILD) --release
	@touch $@ && $(built)

# Built with the shared library. Its names are weak, so that a program may have some of the functions itself.
$(STATIC): $(SHARED) scripts/weak-names
	@[ -e $@ ] || $(BUILD) --release
	@$(OBJCOPY) --wildcard --weaken-symbols=scripts/weak-names $@
	@touch $@ && $(built)

# See deepbind/lib.rs.
$(DEEPBIND): Cargo.toml $(wildcard deepbind/*)
	@$(CARGO) build --quiet --release --package pymalloc-deepbind
	@install -m 755 $(RELEASE)/libpymalloc_deepbind.so $@ && $(built)

deepbind: $(DEEPBIND)
	@:

$(HEADER):
	@$(MAKE) --no-print-directory header

small: $(SMALL)/release/libpymalloc.so ## the same library with 256 KiB arenas and 4 KiB pools, under target/small

$(SMALL)/release/libpymalloc.so: $(SOURCES)
	@$(BUILD) --release --features small-arenas --target-dir $(SMALL)
	@touch $@ && $(built)

watch: $(WATCH) ## pymalloc-watch, the live view of a running process's heap

$(WATCH): $(SOURCES) watch/Cargo.toml $(shell find watch/src -name '*.rs') | $(SHARED)
	@$(CARGO) build $(QUIET) --release --package pymalloc-watch
	@touch $@ && $(built)

header: ## generate include/pymalloc.h anew from the Rust source
	@UPDATE_HEADER=1 $(CARGO) test --quiet --test header
	@echo $(HEADER)

# With pymalloc-watch if that was built.
install: all $(wildcard $(WATCH)) ## install under PREFIX (/usr/local); DESTDIR, LIBDIR, INCLUDEDIR, BINDIR and DATADIR are honoured
	@install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(CMAKEDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(BINDIR)
	@install -s -m 755 $(SHARED) $(DESTDIR)$(LIBDIR)/$(LIBRARY)
	@ln -sf $(LIBRARY) $(DESTDIR)$(LIBDIR)/libpymalloc.so.$(SOVERSION)
	@ln -sf libpymalloc.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libpymalloc.so
	@install -s -m 755 $(DEEPBIND) $(DESTDIR)$(LIBDIR)/libpymalloc-deepbind.so
	@install -m 644 $(STATIC) $(DESTDIR)$(LIBDIR)/libpymalloc.a
	@strip --strip-debug $(DESTDIR)$(LIBDIR)/libpymalloc.a
	@install -m 644 $(HEADER) $(DESTDIR)$(INCLUDEDIR)/pymalloc.h
	@$(call filled,scripts/pymalloc.pc.in,$(LIBDIR)/pkgconfig/pymalloc.pc)
	@$(call filled,scripts/cmake/pymallocConfig.cmake.in,$(CMAKEDIR)/pymallocConfig.cmake)
	@$(call filled,scripts/cmake/pymallocConfigVersion.cmake.in,$(CMAKEDIR)/pymallocConfigVersion.cmake)
	@sed -e "s|^INSTALLED_LIBRARY = .*|INSTALLED_LIBRARY = \"$(call way,$(BINDIR),$(LIBDIR))/libpymalloc.so.$(SOVERSION)\"|" \
		-e "s|^INSTALLED_PARTS = .*|INSTALLED_PARTS = \"$(call way,$(BINDIR),$(PARTSDIR))/pymalloc-parts\"|" \
		scripts/pymalloc > $(DESTDIR)$(BINDIR)/pymalloc && chmod 755 $(DESTDIR)$(BINDIR)/pymalloc
	@ln -sf pymalloc $(DESTDIR)$(BINDIR)/pymalloc-run
	@install -d $(DESTDIR)$(PARTSDIR)/pymalloc-parts $(DESTDIR)$(PARTSDIR)/heapmap-page
	@install -m 644 $(wildcard scripts/pymalloc-parts/*.py) $(DESTDIR)$(PARTSDIR)/pymalloc-parts
	@install -m 755 scripts/heapmap $(DESTDIR)$(PARTSDIR)/heapmap
	@install -m 644 $(wildcard scripts/heapmap-page/*.*) $(DESTDIR)$(PARTSDIR)/heapmap-page
	@ln -sf $(call way,$(BINDIR),$(PARTSDIR))/heapmap $(DESTDIR)$(BINDIR)/pymalloc-heapmap
	@$(if $(wildcard $(WATCH)),install -s -m 755 $(WATCH) $(DESTDIR)$(BINDIR)/pymalloc-watch)
	@echo "installed pymalloc $(VERSION) in $(DESTDIR)$(PREFIX)"

uninstall: ## remove what install put there
	@rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,$(LIBRARY) libpymalloc.so.$(SOVERSION) libpymalloc.so libpymalloc.a) \
		$(DESTDIR)$(LIBDIR)/libpymalloc-deepbind.so \
		$(DESTDIR)$(LIBDIR)/pkgconfig/pymalloc.pc $(DESTDIR)$(INCLUDEDIR)/pymalloc.h
	@rm -f $(addprefix $(DESTDIR)$(BINDIR)/,pymalloc pymalloc-run pymalloc-heapmap pymalloc-watch)
	@rm -rf $(DESTDIR)$(CMAKEDIR) $(DESTDIR)$(PARTSDIR)
	@echo "removed pymalloc from $(DESTDIR)$(PREFIX)"

test-deps: ## install what the tests run and this machine lacks, by apt-get and pip
	@scripts/install-test-programs

# Each part runs, whichever fails.
test: ## every test, on both geometries and with all assertions, and the model checks; names what it skips
	@for needed in cc c++ python3 objcopy; do command -v $$needed > /dev/null || { echo "make test: no $$needed here: make test-deps"; exit 1; }; done
	@rm -f $(SKIPPED)
	@failed=; for part in test-default test-small test-checked test-loom; do \
		$(MAKE) --no-print-directory $$part || failed="$$failed $$part"; \
	done; \
	if [ -s $(SKIPPED) ]; then echo; echo "Skipped:"; sort -u $(SKIPPED) | sed 's/^/  /'; \
		! grep -q 'not installed' $(SKIPPED) || echo "make test-deps installs what is missing."; fi; \
	[ -z "$$failed" ] || { echo; echo "Failed:$$failed"; exit 1; }

test-default: all small
	$(CARGO) test --workspace --no-fail-fast

test-small: all small
	$(CARGO) test --workspace --no-fail-fast --features small-arenas

# The C tests once more, on a library that checks its own invariants at every change of state.
test-checked:
	$(BUILD) --profile checked
	PYMALLOC_LIBRARY=$(abspath $(CARGO_TARGET_DIR))/checked/libpymalloc.so $(CARGO) test --test c_tests -- linked preloaded

# Built in half the time: nothing here is measured.
test-loom:
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 RUSTFLAGS="--cfg loom" $(CARGO) test --release --lib --target-dir $(CARGO_TARGET_DIR)/loom loom

test-mutations: ## weakens orderings and drops checks, one at a time, and tells whether the model checks notice (an hour)
	@scripts/mutations

test-aarch64: ## what can be tested of AArch64 on this machine, by qemu: with pages of 4, 16 and 64 KiB (half an hour; SHORT=1: three minutes)
	@scripts/platform install aarch64 && scripts/platform test aarch64 $(if $(filter-out 0,$(SHORT)),--short)

test-old-glibc: ## the programs in C and CPython 3.9 on the C library of Debian 11, 2.31 (SHORT=1: a minute)
	@scripts/platform install old_glibc && scripts/platform test old_glibc $(if $(filter-out 0,$(SHORT)),--short)

test-musl: ## what can be tested of musl: preloaded, static, a static Rust program, node, cmake and ninja (SHORT=1: two minutes)
	@scripts/platform install musl && scripts/platform test musl $(if $(filter-out 0,$(SHORT)),--short)

test-musl-aarch64: ## the same on AArch64, by qemu (SHORT=1: minutes)
	@scripts/platform install musl_aarch64 && scripts/platform test musl_aarch64 $(if $(filter-out 0,$(SHORT)),--short)

test-musl-python: ## CPython, built for musl from Debian's source, and its own tests on the library (ten minutes)
	@scripts/platform install musl_python && scripts/platform test musl_python

# What every change must pass of them, side by side.
test-platforms: ## the short lists of the old C library, of musl and of AArch64 (three minutes)
	@scripts/platform install old_glibc musl aarch64 && scripts/platform test --short old_glibc musl aarch64

# As root: it sets /sys/kernel/mm/transparent_hugepage, and puts back what it found.
test-huge-pages: $(SHARED) ## what stays resident under each setting of huge pages, after SECONDS=60 of an eager khugepaged too: as root, six minutes
	@scripts/test-huge-pages $(if $(SECONDS),--seconds $(SECONDS))

check: lint ## formatting and lints, warnings denied
	@$(CARGO) fmt --all --check

# All crates with each geometry; the library also as it is without assertions, and for machines that are neither x86-64 nor AArch64.
lint:
	@$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	@$(CARGO) clippy --quiet --workspace --all-targets --all-features -- -D warnings
	@$(CARGO) clippy --quiet --release --package pymalloc-c -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --no-deps --document-private-items --package pymalloc
	@RUSTFLAGS="--cfg portable" $(CARGO) clippy --quiet --release --package pymalloc-c --package pymalloc-deepbind --target-dir $(CARGO_TARGET_DIR)/portable -- -D warnings

deny: ## licences, sources and known flaws of the crates in use, by cargo-deny (installed under target/ the first time)
	@scripts/deny

oldest-rust: ## whether the oldest Rust that Cargo.toml states is enough
	@scripts/oldest-rust

demo: ## CPython on real work: its own allocator against pymalloc, about a minute (PYTHON=... chooses one; DOCS=1: README's figures too)
	@scripts/demo $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(filter-out 0,$(DOCS)),--docs)

demo-library: $(SHARED)
	@:

figures: ## write the figures that README.md and docs/ quote anew, from docs/demo.json and the tables of docs/benchmarks.md
	@scripts/figures

# What the benchmarks are told by variables: ONLY=larson,py3.13 ALLOC=pymalloc,jemalloc PYTHON=python3.12 ROUNDS=3 OUTPUT=folder,
# and QUICK=1, FRESH=1 (not going on with an interrupted run), DOCS=1 (docs/benchmarks.md too).
BENCH = scripts/bench run $(if $(ALLOC),--allocators '$(ALLOC)') $(if $(PYTHON),--python '$(PYTHON)') \
	$(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(OUTPUT),--output '$(OUTPUT)') \
	$(if $(filter-out 0,$(QUICK)),--quick) $(if $(filter-out 0,$(FRESH)),--fresh) $(if $(filter-out 0,$(DOCS)),--docs)

bench: ## pymalloc beside its peers, half an hour; QUICK=1, or parts: ONLY=larson,py3.13 ALLOC=pymalloc,jemalloc ROUNDS=3
	@$(BENCH) $(if $(ONLY),--only '$(ONLY)') $(if $(filter-out 0,$(DOCS)),&& scripts/figures)

bench-memory: ## the memory scenarios alone
	@$(BENCH) --only memory

bench-check: ## what got slower or bigger than in an older result: BASE=old.json [NEW=target/bench/RESULT.json]
	@scripts/bench check $(if $(BASE),'$(BASE)') $(if $(NEW),'$(NEW)')

bench-instructions: $(SHARED) ## instructions of a malloc/free pair against the peers found; writes docs/instructions.md
	@scripts/bench-instructions --markdown docs/instructions.md

bench-latency: $(SHARED) ## how long single calls take, the worst too, with each allocator (ALLOC=pymalloc,jemalloc)
	@$(BENCH) --only latency

count-locks: ## how often the threaded benchmarks take each lock and write each shared word, minutes; DOCS=1: the tables of docs/scaling.md too
	@scripts/count-locks $(if $(ONLY),--only '$(ONLY)') $(if $(filter-out 0,$(DOCS)),--docs)

bench-start: $(SHARED) ## milliseconds that a preloaded allocator adds to the start of a process
	@scripts/bench-start

cpython-suite: $(SHARED) ## CPython's own test suite on pymalloc
	@scripts/cpython-suite

soak: all small ## random traffic for many seeds (SEEDS=50), on both geometries: minutes to hours
	@scripts/soak 1 $(SEEDS)

fuzz: ## fuzz the core against the reference model, three minutes; needs a nightly Rust
	@scripts/fuzz 180

# What a wheel holds besides the tools in Python. `make wheels` builds the same for old systems.
wheel-files: $(SHARED) $(DEEPBIND) $(WATCH)
	@install -d $(CARGO_TARGET_DIR)/wheel-files
	@install -s -m 755 $(SHARED) $(DEEPBIND) $(WATCH) $(CARGO_TARGET_DIR)/wheel-files

wheels: ## the wheels that PyPI would get, each checked, with checksums and SBOMs, under target/wheels: minutes the first time
	@scripts/wheels

test-wheels: ## install what make wheels has built, with each CPython found and on an old Debian, and use it
	@scripts/test-wheels

test-deploy: ## run the recipes of docs/deploy.md (gunicorn, celery, uWSGI and others) with the wheel of make wheels: minutes
	@scripts/test-deploy

release: ## lay out the files of a release under target/release-files, with checksums; nothing is uploaded
	@scripts/release

deb: ## Debian packages of the library, its development files and the commands, checked by lintian, under target/deb
	@scripts/deb

test-deb: ## install what make deb has packed in a Debian of its own, use it and remove it (as root)
	@scripts/test-deb

install-peers: ## the allocators that the benchmarks compare with
	@scripts/install-peers

clean: ## remove everything that was built
	@rm -rf $(CARGO_TARGET_DIR)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' Makefile | awk -F '\t' '{ printf "  make %-20s %s\n", $$1, $$2 }'
