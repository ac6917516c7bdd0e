"""Rust for musl, static: on this machine's processor and on AArch64.

What it owns: target/platforms/musl and target/platforms/musl_aarch64, each with cargo's folder, the compiler for C, and musl itself as `root`. What must hold: nothing
here asks for a Rust from elsewhere than Debian, which has none for musl, but its sources; Rust's own libraries are built once for all that is built here.
"""

import os
import re
import shutil
import subprocess

from runs import Rust, command, folder, install_packages, lacking, unpack, without_paths

# Debian 13's, 1.2.5: that of Debian 12 cannot run programs that are linked with DT_RELR, as node and cmake are.
SUITE = "trixie"
PROGRAMS = {"mmdebstrap": "mmdebstrap", "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}
# Debian has no Rust for musl, but its sources.
RUST = {"/usr/bin/rustc": "rustc-web", "/usr/bin/cargo": "cargo-web", "/usr/lib/rustlib/src/rust/library/std": "rust-web-src"}

# The last compiler's, since musl-gcc knows no static program that can lie anywhere.
STATIC = ["--", "-Crelocation-model=static"]

# GCC's unwinder asks the GNU C library for a quick way to what it looks for; without an answer it takes the one that musl has.
NOT_FOUND = "int _dl_find_object(void *address, void *found) { (void)address; (void)found; return -1; }\n"

NAMES = {"x86_64": "musl", "aarch64": "musl_aarch64"}
DEBIANS = {"x86_64": "amd64", "aarch64": "arm64"}


class Musl:
    """musl on one architecture."""

    def __init__(self, architecture):
        self.architecture = architecture
        self.is_own = architecture == "x86_64"
        self.name = NAMES[architecture]
        self.target = f"{architecture}-unknown-linux-musl"
        self.root = folder(self.name, "root")
        self.build = folder(self.name, "build")
        self.loader = os.path.join(self.root, "lib", f"ld-musl-{architecture}.so.1")
        # For C: Debian's on this machine's processor, and else the like of it.
        self.compiler = "musl-gcc" if self.is_own else folder(self.name, "lib", "musl-gcc")
        self.gcc = "gcc" if self.is_own else f"{architecture}-linux-gnu-gcc"

    def install(self, programs):
        os.makedirs(folder(self.name, "lib"), exist_ok=True)
        rust = Rust(self.target)
        install_packages(lacking({**PROGRAMS, **programs, **(RUST if rust.is_debians else {})}))
        unpack(self.root, SUITE, ["musl"], [f"--architectures={DEBIANS[self.architecture]}"], alone=[] if self.is_own else ["musl-dev"])
        if not self.is_own:
            self.make_compiler()

    def make_compiler(self):
        """What musl-gcc is on this machine's processor, for the compiler of another."""
        with open(f"{self.root}/usr/lib/{self.architecture}-linux-musl/musl-gcc.specs", encoding="utf-8") as file:
            specs = re.sub(r"(?<=[ :L])/usr/", f"{self.root}/usr/", file.read())
        with open(self.compiler + ".specs", "w", encoding="utf-8") as file:
            file.write(specs)
        # GCC's functions for atomic accesses ask the GNU C library what the processor has.
        options = "-mno-outline-atomics " if self.architecture == "aarch64" else ""
        with open(self.compiler, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {self.gcc} {options}"$@" -specs {self.compiler}.specs\n')
        os.chmod(self.compiler, 0o755)

    def version(self, loader=None):
        """musl's loader names itself."""
        emulator = [] if self.is_own else [f"qemu-{self.architecture}-static"]
        told = subprocess.run([*emulator, loader or self.loader], stderr=subprocess.PIPE, text=True).stderr
        return "musl " + re.search(r"^Version (\S+)", told, re.MULTILINE).group(1)

    def cargo(self, arguments, more_flags=()):
        rust = Rust(self.target)
        target = self.target.upper().replace("-", "_")
        variables = {"CARGO_TARGET_DIR": self.build, f"CARGO_TARGET_{target}_LINKER": self.compiler, f"CC_{self.target.replace('-', '_')}": self.compiler}
        # As .cargo/config.toml, which these replace.
        flags = ["-Cllvm-args=--inline-threshold=60", "-Cllvm-args=--align-loops=1", *without_paths()]
        if rust.is_debians:
            # Its compiler builds its own libraries as nobody else's may: with what is not stable in them. musl's start files are musl-gcc's.
            flags += ["-Clink-self-contained=no", f"-Lnative={self.unwinder()}"]
            arguments = [arguments[0], "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=", *arguments[1:]]
            variables["RUSTC_BOOTSTRAP"] = "1"
        variables[f"CARGO_TARGET_{target}_RUSTFLAGS"] = " ".join(flags)
        command([rust.cargo, *arguments, "--target", self.target, *more_flags], **rust.environment(**variables))

    def unwinder(self):
        """A folder with what Rust's own libraries unwind by, under the name that they ask for: GCC's."""
        place = folder(self.name, "lib")
        source, compiled, whole = (os.path.join(place, name) for name in ("not_found.c", "not_found.o", "libunwind.a"))
        if not os.path.exists(whole):
            with open(source, "w", encoding="utf-8") as file:
                file.write(NOT_FOUND)
            found = subprocess.run([self.gcc, "-print-file-name=libgcc_eh.a"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            command([self.compiler, "-c", "-o", compiled, source])
            shutil.copy(found, whole + ".part")
            command(["ar", "r", whole + ".part", compiled])
            os.rename(whole + ".part", whole)
        return place

    def library(self, name):
        return os.path.join(self.build, self.target, "release", name)

    def static_library(self):
        self.cargo(["rustc", "--quiet", "--release", "--package", "pymalloc-c", "--lib", "--crate-type", "staticlib"])

    def tool(self):
        """pymalloc-watch as a static program, which runs beside any C library; its path."""
        self.cargo(["rustc", "--quiet", "--release", "--package", "pymalloc-watch", "--bin", "pymalloc-watch"], STATIC)
        return self.library("pymalloc-watch")
