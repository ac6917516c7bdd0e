//! Link arguments of the shared library, whose crate is `c/`; nothing is generated here.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Code and constants in one segment, as linkers did before 2018: 10 of the 60 microseconds that the library adds to the start of a process.
/// The first that the linker understands: LLVM's, which is Rust's own on x86-64, and GNU's since 2.43; GNU's before.
const ONE_SEGMENT: [&str; 2] = ["-Wl,--no-rosegment", "-Wl,-z,noseparate-code"];

/// What the linker is asked about.
const EMPTY_LIBRARY: &str =
    "#![no_std]\n#[panic_handler]\nfn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n";

fn main() {
    println!("cargo:rerun-if-changed=../build.rs");
    for argument in [
        // The name that a dynamic linker looks for; the number changes with the ABI.
        "-Wl,-soname,libpymalloc.so.0",
        // Threads hold a destructor that lives in the library, so that `dlclose` must not unmap it.
        "-Wl,-z,nodelete",
        // Initialised before every other library: see `process::start`.
        "-Wl,-z,initfirst",
        // Every symbol is bound at start: a lazy first call from within malloc could itself allocate.
        "-Wl,-z,now",
        // The compiler's start files hold what C++ constructors and unloading need, of which there is none here, and touch two pages more.
        "-nostartfiles",
        // They also define this, of which the C library's `pthread_atfork` passes on the address: any in the library will do, which is
        // never unloaded.
        "-Wl,--defsym=__dso_handle=pymalloc_malloc",
    ] {
        println!("cargo:rustc-link-arg-cdylib={argument}");
    }
    println!(
        "cargo:rustc-link-arg-cdylib=-Wl,--dynamic-list={}",
        replaceable()
    );
    if let Some(argument) = ONE_SEGMENT.into_iter().find(|one| linker_accepts(one)) {
        println!("cargo:rustc-link-arg-cdylib={argument}");
    }
}

/// What `c/src/replaced.rs` looks for in the whole program.
const REPLACEABLE: [&str; 12] = [
    "malloc",
    "free",
    "realloc",
    "aligned_alloc",
    "_Znwm",
    "_Znam",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
];

/// A file that names these to the linker. All other names inside the library it binds to the library itself.
fn replaceable() -> String {
    let file = PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("replaceable");
    let list = format!("{{ {}; }};\n", REPLACEABLE.join("; "));
    std::fs::write(&file, list).expect("cargo's folder can be written");
    file.display().to_string()
}

/// Whether the linker that cargo has set links an empty library with an argument. No linker tells what it understands.
fn linker_accepts(argument: &str) -> bool {
    let variable = |name| env::var(name).unwrap_or_default();
    let folder = PathBuf::from(variable("OUT_DIR"));
    let source = folder.join("empty.rs");
    if std::fs::write(&source, EMPTY_LIBRARY).is_err() {
        return false;
    }
    let mut compiler = Command::new(variable("RUSTC"));
    compiler
        .args(variable("CARGO_ENCODED_RUSTFLAGS").split_terminator('\x1f'))
        .args(["--crate-type", "cdylib", "-Cpanic=abort", "--target"])
        .arg(variable("TARGET"))
        .arg(format!("-Clink-arg={argument}"))
        .arg("--out-dir")
        .arg(&folder)
        .arg(&source)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.arg(format!("-Clinker={linker}"));
    }
    compiler.status().is_ok_and(|status| status.success())
}
