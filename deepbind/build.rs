//! Link arguments of the library; nothing is generated here.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in [
        "-Wl,-soname,libpymalloc-deepbind.so",
        // The program may hold the address of a function of ours until its end.
        "-Wl,-z,nodelete",
        "-Wl,-z,now",
        // No constructor is wanted: what is looked up is looked up at the first call.
        "-nostartfiles",
        // `dlsym` is in the second of them before version 2.34 of the C library.
        "-lc",
        "-ldl",
    ] {
        println!("cargo:rustc-link-arg-cdylib={argument}");
    }
}
