//! The committed header, `include/pymalloc.h`, against the Rust source that it is generated from.
//!
//! Owns: the one use of cbindgen. With `UPDATE_HEADER=1` (`make header`) it writes the file instead of comparing.
//! What must hold: the header says what the source says, and names nothing but the library's own `pymalloc_*`.

use std::path::Path;

/// The C interface, and the types that it names.
const SOURCES: [&str; 3] = ["c/src/own.rs", "src/inspect.rs", "src/stats/figures.rs"];

/// The header as it must be.
fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml can be read");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(source));
    }
    let bindings = builder.generate().expect("cbindgen understands the source");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).expect("a header is text")
}

/// The header's C text: no comments, no preprocessor lines.
fn code(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some(start) = rest.find("/*") {
        code.push_str(&rest[..start]);
        let end = rest[start..].find("*/").expect("a comment ends");
        rest = &rest[start + end + 2..];
    }
    code.push_str(rest);
    code.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn words(code: &str) -> Vec<String> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

/// The names of the functions that a header declares: the words before an opening parenthesis.
fn functions(header: &str) -> Vec<String> {
    let code = code(header);
    code.match_indices('(')
        .filter_map(|(at, _)| words(&code[..at]).pop())
        .collect()
}

#[test]
fn committed_header_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pymalloc.h");
    let wanted = generated();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::create_dir_all(path.parent().expect("the header is in a folder"))
            .and_then(|()| std::fs::write(&path, &wanted))
            .expect("the header can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let same = wanted
        .lines()
        .zip(found.lines())
        .take_while(|(wanted, found)| wanted == found)
        .count();
    assert!(
        wanted == found,
        "include/pymalloc.h is not what the source generates, from line {} on: run `make header`",
        same + 1
    );
}

/// The names that follow `word` in the header's code, sorted.
fn names_after(header: &str, word: &str) -> Vec<String> {
    let words = words(&code(header));
    sorted(
        words
            .windows(2)
            .filter(|pair| pair[0] == word)
            .map(|pair| pair[1].clone()),
    )
}

fn sorted<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    names.sort();
    names.dedup();
    names
}

/// The functions of the interface.
const FUNCTIONS: [&str; 22] = [
    "pymalloc_malloc",
    "pymalloc_free",
    "pymalloc_calloc",
    "pymalloc_realloc",
    "pymalloc_reallocarray",
    "pymalloc_posix_memalign",
    "pymalloc_aligned_alloc",
    "pymalloc_memalign",
    "pymalloc_valloc",
    "pymalloc_pvalloc",
    "pymalloc_malloc_usable_size",
    "pymalloc_malloc_stats",
    "pymalloc_malloc_info",
    "pymalloc_mallinfo2",
    "pymalloc_free_sized",
    "pymalloc_free_aligned_sized",
    "pymalloc_version",
    "pymalloc_trim",
    "pymalloc_inspect",
    "pymalloc_stats_get",
    "pymalloc_stats_json",
    "pymalloc_heapmap",
];

/// Its constants.
const CONSTANTS: [&str; 9] = [
    "PYMALLOC_KIND_NONE",
    "PYMALLOC_KIND_POOL",
    "PYMALLOC_KIND_LARGE",
    "PYMALLOC_KIND_MAPPING",
    "PYMALLOC_KIND_ARENA",
    "PYMALLOC_STATE_NONE",
    "PYMALLOC_STATE_UNTOUCHED",
    "PYMALLOC_STATE_FREE",
    "PYMALLOC_STATE_ALLOCATED",
];

#[test]
fn header_declares_the_interface_and_nothing_else() {
    let header = generated();
    assert_eq!(sorted(functions(&header)), sorted(FUNCTIONS));
    assert_eq!(names_after(&header, "typedef"), ["enum", "struct"]);
    assert_eq!(
        names_after(&header, "enum"),
        ["pymalloc_kind", "pymalloc_state"]
    );
    assert_eq!(
        names_after(&header, "struct"),
        ["mallinfo2", "pymalloc_info", "pymalloc_stats"]
    );
    let defined = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define "))
        .filter_map(|rest| rest.split_whitespace().next());
    assert_eq!(
        sorted(defined),
        ["PYMALLOC_H", "PYMALLOC_HEAPMAP_WITHOUT_BLOCKS"]
    );
    let constants = sorted(
        words(&code(&header))
            .into_iter()
            .filter(|word| word.starts_with("PYMALLOC_")),
    );
    assert_eq!(constants, sorted(CONSTANTS));
}
