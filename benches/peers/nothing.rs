//! Empty: cargo wants a source file of every package, and this one is only a list of versions (see Cargo.toml).
