//! Link arguments of the shared library; nothing is generated here.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Only the shared library is linked with this feature.
    if std::env::var_os("CARGO_FEATURE_C_ABI").is_none() {
        return;
    }
    for argument in [
        // The name that a dynamic linker looks for; the number changes with the ABI.
        "-Wl,-soname,libpymalloc.so.0",
        // Threads hold a destructor that lives in the library, so that `dlclose` must not unmap it.
        "-Wl,-z,nodelete",
        // Calls inside the library bind to the library, and every symbol is bound at start: a lazy
        // first call from within malloc could itself allocate.
        "-Wl,-Bsymbolic",
        // Initialised before every other library: see `process::start`.
        "-Wl,-z,initfirst",
        "-Wl,-z,now",
    ] {
        println!("cargo:rustc-link-arg={argument}");
    }
}
