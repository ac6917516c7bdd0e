//! The floor plan, `src/README.md`, against the source.
//!
//! What must hold: the plan names every file of the library, from top to ground, and a file uses files below its own alone. So there is no circle, and
//! whoever reads the plan knows what a file may touch.
//!
//! Uses are read as text: paths that begin with `crate` or `super`, wherever they stand outside of comments and tests.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Files that are tests, or stand in for others in the model. They may use whatever they like.
fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("model")
}

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// All files of the library, by their paths in `src`.
fn files() -> Vec<String> {
    let (mut folders, mut files) = (vec![source().to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(source()).expect("it is in the source");
                files.push(file.to_str().expect("a name is text").to_string());
            }
        }
    }
    files
}

/// The files that the plan names, from top to ground.
fn plan() -> Vec<String> {
    let text = fs::read_to_string(source().join("README.md")).expect("there is a floor plan");
    let (_, floors) = text
        .split_once("## From top to ground")
        .expect("it has floors");
    let targets = floors
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| target.ends_with(".rs"))
        .map(String::from)
        .collect()
}

/// The module that a file is, as the names on the way to it.
fn module_of(file: &str) -> Vec<&str> {
    let mut names: Vec<_> = file
        .strip_suffix(".rs")
        .expect("a source")
        .split('/')
        .collect();
    if matches!(names.last(), Some(&"mod" | &"lib")) {
        names.pop();
    }
    names
}

/// The file of the innermost module that a path leads into.
fn file_of<'a>(path: &[&str], files: &HashMap<Vec<&str>, &'a str>) -> Option<&'a str> {
    (1..=path.len())
        .rev()
        .find_map(|length| files.get(&path[..length]).copied())
}

/// The code of a file, neither comments nor its tests, by the modules in it: each with its path.
fn code<'a>(file: &'a str, text: &'a str) -> Vec<(Vec<&'a str>, String)> {
    let mut modules = vec![(module_of(file), String::new())];
    // Those that a line is in, from the file's own on, and the lines that end them.
    let mut open = vec![(0, String::from("\n"))];
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test"))
        .filter(|line| !line.trim_start().starts_with("//"));
    for line in lines {
        let inner = open.last().expect("the file's own is never closed");
        if *line == inner.1 {
            open.pop();
            continue;
        }
        let name = line
            .trim_start()
            .trim_start_matches("pub ")
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(" {"));
        match name {
            Some(name) => {
                let mut path = modules[inner.0].0.clone();
                path.push(name);
                let indent = line.len() - line.trim_start().len();
                modules.push((path, String::new()));
                open.push((modules.len() - 1, format!("{}}}", " ".repeat(indent))));
            }
            None => modules[inner.0].1.extend([line, "\n"]),
        }
    }
    modules
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The paths that begin with `crate::` or `super::` in the code of a module, from the crate's root on. Of a list in braces those that are in it.
fn uses<'a>(module: &[&'a str], code: &'a str) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    let starts = ["crate::", "super::"].map(|start| code.match_indices(start));
    for (at, _) in starts.into_iter().flatten() {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|before| is_name(before) || before == ':') {
            continue;
        }
        let (mut base, mut rest) = (module.to_vec(), &code[at..]);
        if let Some(behind) = rest.strip_prefix("crate::") {
            (base, rest) = (Vec::new(), behind);
        }
        while let Some(behind) = rest.strip_prefix("super::") {
            base.pop();
            rest = behind;
        }
        let ends_path = |letter| !is_name(letter) && letter != ':';
        let list = rest
            .strip_prefix('{')
            .and_then(|list| list.split('}').next());
        let paths = list.unwrap_or(rest.split(ends_path).next().unwrap_or(""));
        for path in paths.split(',') {
            let names = path.trim().split("::").filter(|name| !name.is_empty());
            found.push(base.iter().copied().chain(names).collect());
        }
    }
    found
}

#[test]
fn plan_names_every_file_once() {
    let (plan, mut missing) = (plan(), files());
    for file in &plan {
        assert_eq!(
            plan.iter().filter(|other| *other == file).count(),
            1,
            "{file}"
        );
    }
    missing.retain(|file| !plan.contains(file) && !is_test(file));
    assert!(
        missing.is_empty(),
        "src/README.md does not name {missing:?}"
    );
}

#[test]
fn files_use_files_below_their_own() {
    let plan = plan();
    let floor = |file: &str| plan.iter().position(|other| other == file);
    let files: HashMap<_, _> = plan
        .iter()
        .map(|file| (module_of(file), file.as_str()))
        .collect();
    let (mut upwards, mut seen) = (Vec::new(), 0);
    for file in &plan {
        let text = fs::read_to_string(source().join(file)).expect("a file of the plan is there");
        let modules = code(file, &text);
        let paths = modules.iter().flat_map(|(module, code)| uses(module, code));
        for path in paths {
            // What stands in for others in the model is on no floor.
            if path.iter().any(|name| is_test(name)) {
                continue;
            }
            let Some(used) = file_of(&path, &files) else {
                continue;
            };
            seen += 1;
            if used != file && floor(used) < floor(file) {
                upwards.push(format!("{file} uses {} of {used}", path.join("::")));
            }
        }
    }
    // Were the paths not read rightly, all would seem well.
    assert!(seen > 400, "only {seen} uses were found");
    assert!(upwards.is_empty(), "{upwards:#?}");
}
