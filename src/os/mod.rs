//! System calls: the only place that maps, unmaps and purges memory, and that opens, reads and writes files.
//!
//! - `memory`, `sizes`, `resident`: mappings, the page size, what is resident;
//! - `file`, `socket`: files, and a connection to another program;
//! - `wait`, `clock`: sleeping and waking, and clocks without a call;
//! - `signal`, `process`: signals, and what else belongs to the process; `errno`;
//! - `call`: how a call is made, past the C library's functions: the program may have replaced these.
//!
//! Every wrapper leaves `errno` as it found it: only the exported functions may set it, and only
//! when they fail. No wrapper allocates.
//!
//! The library does use some functions of the C library that allocate, or run functions of the program: `pthread_key_create`,
//! `pthread_setspecific`, `pthread_atfork`, `pthread_create`, `sigaction`, `fwrite` and those of the dynamic linker. What must hold: none
//! is called under a lock of the library, nor before the library can serve what the call allocates.

mod call;
mod clock;
mod errno;
mod file;
mod memory;
mod process;
mod resident;
mod signal;
mod sizes;
pub mod socket;
mod wait;

pub use clock::{coarse_clock, exact_clock, time_of_day};
pub use errno::set_errno;
pub use file::{AppendedFile, read_start, why_not_written, write_all};
pub use memory::{
    could_map_block, free_lazily, is_readable, map, map_aligned, map_block, no_huge_pages, purge,
    remap, try_unmap,
};
pub use process::{abort, at_exit, is_privileged, parent_id, process_id};
pub use resident::{most_resident_bytes, resident_bytes, resident_pages};
pub use signal::{Signals, handle_signal};
pub use sizes::{SMALLEST_PAGE, SOCKET_NAME, page_size, round_to_pages};
pub use wait::{sleep, sleep_while, wait, wake};
