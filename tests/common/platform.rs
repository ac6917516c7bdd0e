//! The platform that the C tests run on: this machine's own, or another whose programs this machine can run.
//!
//! Owns: how a program is compiled for it and started on it, and what cannot be tested there.
//! `scripts/platform test` chooses it by `PYMALLOC_TEST_PLATFORM`, and the size of its pages by `PYMALLOC_TEST_PAGE`.
//! What must hold: a test that is left out says so, and why, in the list of what was skipped.

use super::skip;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub struct Platform {
    /// As in `PYMALLOC_TEST_PLATFORM`; none for this machine's own.
    pub name: Option<&'static str>,
    /// As compilers call it.
    pub target: String,
    pub objcopy: &'static str,
    /// Whether there is a C++ compiler for it.
    pub has_cpp: bool,
    /// Further arguments of the compiler, and more of those for a program with the static library in it.
    pub compiler_arguments: Vec<PathBuf>,
    pub static_arguments: &'static [&'static str],
    /// What runs its programs: a command before each of theirs, if any.
    emulator: Vec<PathBuf>,
    /// How many times as long a program may take as on this machine itself.
    pub patience: u64,
    /// Whether the emulator tells a program of pages larger than the kernel's.
    has_other_pages: bool,
    left_out: Vec<&'static [LeftOut]>,
}

/// With what settings a source is run that else begins anew with them, which an emulator cannot do: `exec` is the kernel's.
const BEGUN_WITH: &[(&str, &str)] = &[
    ("arenas.c", "retain=0"),
    ("late_dlopen.c", "retain=0"),
    ("pages.c", "retain=0"),
    ("promise.c", "retain=0"),
    ("trim_beside.c", "resident_budget=4g,retain=0"),
];

/// What an emulator says of a program that a signal ended.
const LAST_WORDS: &str = "qemu: uncaught target signal ";

/// Tests that cannot be run on a platform: a source, the first argument (empty: any), and why.
type LeftOut = (&'static str, &'static str, &'static str);

/// What qemu's emulation of a process lacks or tells otherwise.
const UNDER_QEMU: &[LeftOut] = &[
    ("exhaustion.c", "", LIMITS),
    ("too_large.c", "", LIMITS),
    ("heapmap.c", "memory", LIMITS),
    ("slot_map.c", "locked", LIMITS),
    ("slot_map.c", "limit", LIMITS),
    ("slot_map.c", "addresses", LIMITS),
    ("map_limit.c", "", LIMITS),
    ("filtered.c", "", FILTERS),
    ("late_free.c", "keys", OWN_MEMORY),
    ("late_free.c", "first", "the emulator has no robust mutexes"),
    ("late_free_cpp.cpp", "", OWN_MEMORY),
    ("short_threads.c", "", OWN_MEMORY),
    ("shared_pools.c", "idle", OWN_MEMORY),
    ("mappings.c", "reused", OWN_MEMORY),
    ("mappings.c", "unwritten", OWN_MEMORY),
    ("retained.c", "twice", LAZY),
    ("returned.c", "forgotten", SLOW),
    ("slot_map.c", "refused", FILTERS),
    (
        "slot_map.c",
        "fork",
        "the emulator takes more than two minutes for it",
    ),
    ("cpp_features.cpp", "", LIMITS),
];

const LIMITS: &str = "limits on memory and mappings hold for the emulator, not for the program";
const FILTERS: &str = "the emulator has no filters of system calls";
const SLOW: &str =
    "with the emulator a round takes longer than what counts as asked for again soon";
const LAZY: &str = "the emulator keeps what the system may take (MADV_FREE)";
const OWN_MEMORY: &str =
    "the emulator's memory counts too: it keeps 280 KiB of each thread that ended";

/// The emulator tells the program of larger pages, and the kernel does not know.
const ON_LARGER_PAGES: &[LeftOut] = &[
    ("arenas.c", "", COUNTED_IN_PAGES),
    ("heapmap.c", "", COUNTED_IN_PAGES),
    ("mappings.c", "resized", COUNTED_IN_PAGES),
    ("returned.c", "bounded", COUNTED_IN_PAGES),
    ("slot_map.c", "", COUNTED_IN_PAGES),
    (
        "pages.c",
        "purged",
        "which block was purged is what mincore tells, which is refused",
    ),
    (
        "misuse.c",
        "untouched",
        "pools are carved a page at a time: no block of theirs stays untouched",
    ),
];

/// Pages larger than a slot: docs/memory.md says what holds.
const ON_LARGEST_PAGES: &[LeftOut] = &[
    ("inspect.c", "", "no pool is longer than a page"),
    ("pages.c", "", SHARED_PAGES),
    ("promise.c", "", SHARED_PAGES),
    ("returned.c", "locked", SHARED_PAGES),
    ("returned.c", "shrunk", SHARED_PAGES),
    ("returned.c", "forgotten", SHARED_PAGES),
];

const COUNTED_IN_PAGES: &str =
    "what the kernel counts in its own pages is not what the program takes it for";
const SHARED_PAGES: &str = "only whole arenas and mappings go back where slots share pages";

const INITIAL_EXEC: &str =
    "musl has no room for the thread-local pointers of a library that is opened later";

const ON_MUSL: &[LeftOut] = &[
    (
        "fork_stdio.c",
        "inside",
        "musl's own fork waits for the list of streams, which the thread itself has",
    ),
    (
        "fork_stdio.c",
        "threads",
        "musl has no function that holds its list of streams over a fork",
    ),
    ("late_free.c", "library", "musl unloads no library"),
    ("late_dlopen.c", "", INITIAL_EXEC),
    ("no_keys.c", "", INITIAL_EXEC),
    ("unloaded_plugin.c", "", INITIAL_EXEC),
];

/// The platform of this run.
pub fn platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(|| {
        let name = std::env::var("PYMALLOC_TEST_PLATFORM").unwrap_or_default();
        match name.as_str() {
            "" => own(),
            "aarch64" => aarch64(),
            "musl" => musl(),
            "musl_aarch64" => musl_aarch64(),
            "old_glibc" => old_glibc(),
            other => {
                panic!("PYMALLOC_TEST_PLATFORM={other}: no such platform")
            }
        }
    })
}

fn own() -> Platform {
    Platform {
        name: None,
        target: format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
        objcopy: "objcopy",
        has_cpp: true,
        compiler_arguments: Vec::new(),
        static_arguments: &[],
        emulator: Vec::new(),
        patience: 1,
        has_other_pages: false,
        left_out: Vec::new(),
    }
}

/// The GNU C library on AArch64, under qemu, with what `scripts/platform install` has unpacked as its system.
fn aarch64() -> Platform {
    let mut emulator = vec!["qemu-aarch64-static".into()];
    let page = std::env::var("PYMALLOC_TEST_PAGE").unwrap_or_default();
    let has_other_pages = !matches!(page.as_str(), "" | "4096");
    let mut left_out = vec![UNDER_QEMU];
    if has_other_pages {
        left_out.push(ON_LARGER_PAGES);
        if page == "65536" {
            left_out.push(ON_LARGEST_PAGES);
        }
        emulator.extend(["-p".into(), page.into()]);
    }
    emulator.extend(["-L".into(), root()]);
    Platform {
        name: Some("aarch64"),
        target: "aarch64-unknown-linux-gnu".into(),
        objcopy: "aarch64-linux-gnu-objcopy",
        emulator,
        patience: 5,
        has_other_pages,
        left_out,
        ..own()
    }
}

/// The folder with what `scripts/platform install` has unpacked.
fn root() -> PathBuf {
    let named = std::env::var_os("PYMALLOC_TEST_ROOT");
    named
        .expect("`scripts/platform test` names the root")
        .into()
}

/// An old GNU C library on this machine's processor: programs name its loader, and find it before this machine's own, also what they preload and open.
fn old_glibc() -> Platform {
    let mut compiler_arguments = vec![
        argument("--sysroot=", &root()),
        // Its start files, which the compiler would take from this machine.
        argument("-B", &root().join("usr/lib/x86_64-linux-gnu")),
        argument(
            "-Wl,--dynamic-linker=",
            &root().join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        ),
        "-Wl,--disable-new-dtags".into(),
    ];
    for folder in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        compiler_arguments.push(argument("-Wl,-rpath,", &root().join(folder)));
    }
    Platform {
        name: Some("old_glibc"),
        has_cpp: false,
        compiler_arguments,
        ..own()
    }
}

fn argument(option: &str, value: &Path) -> PathBuf {
    format!("{option}{}", value.display()).into()
}

/// musl on this machine's processor. Debian has no C++ compiler for it.
fn musl() -> Platform {
    Platform {
        name: Some("musl"),
        target: format!("{}-unknown-linux-musl", std::env::consts::ARCH),
        has_cpp: false,
        static_arguments: &["-static", "-DSTATIC_PROGRAM"],
        compiler_arguments: vec![
            // Functions that musl does not have come with the library, preloaded.
            "-Wl,--unresolved-symbols=ignore-in-object-files".into(),
            "-isystem".into(),
            super::repository().join("c_tests/musl"),
            // The kernel's, which musl has none of.
            "-idirafter".into(),
            "/usr/include".into(),
            "-idirafter".into(),
            format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH).into(),
        ],
        left_out: vec![ON_MUSL],
        ..own()
    }
}

/// The same on AArch64, under qemu.
fn musl_aarch64() -> Platform {
    let emulated = aarch64();
    let mut platform = musl();
    platform.name = Some("musl_aarch64");
    platform.target = "aarch64-unknown-linux-musl".into();
    let headers = platform.compiler_arguments.pop();
    headers.expect("the last are those of this machine's processor");
    platform
        .compiler_arguments
        .push("/usr/aarch64-linux-gnu/include".into());
    platform.left_out.extend(&emulated.left_out);
    Platform {
        objcopy: emulated.objcopy,
        emulator: emulated.emulator,
        patience: emulated.patience,
        ..platform
    }
}

/// Lets this process and those that it starts have no huge pages. The library asks for none (MADV_NOHUGEPAGE), and the emulator does not pass that on: what
/// the kernel gathers into huge pages would count as resident where the machine's switch says `always`.
fn refuse_huge_pages() -> std::io::Result<()> {
    // SAFETY: it reads numbers alone.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Lets this process and those that it starts make no call of `mincore`. The emulator passes it to the kernel, which fills in a byte for each
/// page of its own: more than a program with larger pages has room for. The library does without.
fn refuse_mincore() -> std::io::Result<()> {
    let instruction = |code: u32, jump_if_not: u8, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump_if_not,
        k: value,
    };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            libc::SYS_mincore as u32,
        ),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the first call takes numbers alone, the second reads the program above.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    match refused {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}

impl Platform {
    /// The command that starts a program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self.emulator.split_first() {
            None => Command::new(program),
            Some((emulator, arguments)) => {
                let mut command = Command::new(emulator);
                command.args(arguments).arg(program);
                command.env("PYMALLOC_TEST_EMULATED", "1");
                // SAFETY: neither function allocates or takes a lock.
                unsafe { command.pre_exec(refuse_huge_pages) };
                if self.has_other_pages {
                    // SAFETY: as above.
                    unsafe { command.pre_exec(refuse_mincore) };
                }
                command
            }
        }
    }

    /// The settings of a source, where it cannot begin anew with them.
    pub fn settings(&self, source: &str) -> Option<&'static str> {
        let found = BEGUN_WITH.iter().find(|(of, _)| *of == source);
        found
            .filter(|_| !self.emulator.is_empty())
            .map(|(_, settings)| *settings)
    }

    /// What a program said on stderr, without what its emulator added.
    pub fn of_program(&self, stderr: String) -> String {
        if self.emulator.is_empty() {
            return stderr;
        }
        let lines = stderr.split_inclusive('\n');
        lines.filter(|line| !line.starts_with(LAST_WORDS)).collect()
    }

    /// Whether a program can be tested here; if not, it is in the list of what was skipped.
    pub fn can_run(&self, source: &str, arguments: &[&str]) -> bool {
        let kind = arguments.first().copied().unwrap_or_default();
        let is_it = |out: &&LeftOut| out.0 == source && (out.1.is_empty() || out.1 == kind);
        let why = match self.left_out.iter().copied().flatten().find(is_it) {
            Some((.., why)) => why,
            None if source.ends_with(".cpp") && !self.has_cpp => "no C++ compiler for it",
            None => return true,
        };
        skip(&format!(
            "{source} {kind} on {}: {why}",
            self.name.unwrap_or("this machine")
        ));
        false
    }

    /// The name of a folder for what belongs to it, beside those of others.
    pub fn folder(&self, geometry: &str) -> PathBuf {
        match self.name {
            None => Path::new(geometry).into(),
            Some(name) => format!("{name}-{geometry}").into(),
        }
    }
}
