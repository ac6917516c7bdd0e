//! The library under its own names.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;
use pymalloc::internals::alloc;
use pymalloc::internals::fault::Call;
use pymalloc::internals::geometry::{ARENA_SIZE, SLOT_SIZE};
use pymalloc::internals::heapmap;
use pymalloc::internals::inspect::{self, Info, Kind};
use pymalloc::internals::os;
use pymalloc::internals::report::{BUFFER, Sink, Text};
use pymalloc::internals::stats::{self, Counted, Stats};

/// The C library's `struct mallinfo2`.
#[repr(C)]
#[derive(Default)]
pub struct Mallinfo2 {
    pub arena: usize,
    pub ordblks: usize,
    pub smblks: usize,
    pub hblks: usize,
    pub hblkhd: usize,
    pub usmblks: usize,
    pub fsmblks: usize,
    pub uordblks: usize,
    pub fordblks: usize,
    pub keepcost: usize,
}

/// Sets `errno` if an allocation failed.
#[inline(always)]
fn checked(block: *mut u8) -> *mut c_void {
    if block.is_null() {
        return out_of_memory();
    }
    block.cast()
}

#[cold]
#[inline(never)]
fn out_of_memory() -> *mut c_void {
    os::set_errno(libc::ENOMEM);
    ptr::null_mut()
}

#[cold]
fn invalid_argument() -> *mut c_void {
    os::set_errno(libc::EINVAL);
    ptr::null_mut()
}

/// The version of the library, as "major.minor.patch". The string is static. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no zero byte"),
        };
    VERSION.as_ptr()
}

/// As malloc(3): at least `size` bytes, aligned to 16, not cleared. A size of 0 gives a block of its own. Returns NULL and
/// sets errno to ENOMEM when there is no memory or `size` exceeds PTRDIFF_MAX. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_malloc(size: usize) -> *mut c_void {
    allocate(size)
}

/// What `malloc` and its twin are: an exported function is called rather than inlined.
#[inline(always)]
pub(super) fn allocate(size: usize) -> *mut c_void {
    alloc::allocate_or(size, malloc_beyond_bins)
}

#[inline(never)]
fn malloc_beyond_bins(size: usize) -> *mut c_void {
    checked(alloc::allocate_beyond_bins(size))
}

/// As free(3): frees a block of any of the allocating functions; NULL is ignored. errno is kept. A pointer that is not that of
/// an allocated block ends the process with a message. Thread-safe; any thread may free any block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_free(ptr: *mut c_void) {
    // SAFETY: passed on from the caller.
    unsafe { release(ptr) }
}

/// As `allocate`.
///
/// # Safety
/// As `pymalloc_free`.
#[inline(always)]
pub(super) unsafe fn release(ptr: *mut c_void) {
    // SAFETY: passed on from the caller.
    unsafe { alloc::free::<{ Call::Free as u8 }>(ptr.cast()) }
}

/// As calloc(3): `count` times `size` bytes, all zero. Returns NULL and sets errno to ENOMEM as pymalloc_malloc(), or
/// when the product overflows. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_calloc(count: usize, size: usize) -> *mut c_void {
    allocate_zeroed(count, size)
}

/// As `allocate`.
#[inline(always)]
pub(super) fn allocate_zeroed(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(total) => alloc::allocate_zeroed_or(total, calloc_beyond_bins),
        None => out_of_memory(),
    }
}

#[inline(never)]
fn calloc_beyond_bins(size: usize) -> *mut c_void {
    checked(alloc::allocate_zeroed(size))
}

/// As realloc(3): resizes a block and keeps its contents up to the smaller size. `ptr` of NULL allocates; `size` of 0 frees and
/// returns NULL, as glibc does. On failure returns NULL, sets errno to ENOMEM, and leaves the block as it was. Bad pointers
/// as pymalloc_free(). Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: passed on from the caller.
    unsafe { resize(ptr, size) }
}

/// As `allocate`.
///
/// # Safety
/// As `pymalloc_realloc`.
#[inline(always)]
pub(super) unsafe fn resize(ptr: *mut c_void, size: usize) -> *mut c_void {
    alloc::resize_or(ptr.cast(), size, |block, size| {
        // SAFETY: passed on from the caller.
        unsafe { realloc_elsewhere(block, size) }
    })
}

/// What the fast path of `pymalloc_realloc` does not serve.
#[inline(never)]
unsafe fn realloc_elsewhere(block: *mut u8, size: usize) -> *mut c_void {
    if block.is_null() {
        return pymalloc_malloc(size);
    }
    if size == 0 {
        // SAFETY: passed on from the caller.
        unsafe { alloc::free::<{ Call::Realloc as u8 }>(block) };
        return ptr::null_mut();
    }
    // SAFETY: passed on from the caller.
    checked(unsafe { alloc::resize(block, size, Call::Realloc) })
}

/// As reallocarray(3): pymalloc_realloc() to `count` times `size` bytes; an overflow of the product fails with ENOMEM.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_reallocarray(
    ptr: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: passed on from the caller.
        Some(total) if ptr.is_null() || total == 0 => unsafe { pymalloc_realloc(ptr, total) },
        // SAFETY: as above.
        Some(total) => checked(unsafe { alloc::resize(ptr.cast(), total, Call::ReallocArray) }),
        None => out_of_memory(),
    }
}

/// As posix_memalign(3): stores a block of at least `size` bytes at a multiple of `alignment`, a power of two
/// and a multiple of the size of a pointer, in `*memptr`. Returns 0, EINVAL or ENOMEM; on error errno is set to that as well, and `*memptr` is left alone.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_posix_memalign(
    memptr: *mut *mut c_void,
    alignment: usize,
    size: usize,
) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        invalid_argument();
        return libc::EINVAL;
    }
    let block = alloc::allocate_aligned(size, alignment);
    if block.is_null() {
        out_of_memory();
        return libc::ENOMEM;
    }
    // SAFETY: the caller's pointer is valid for writing.
    unsafe { *memptr = block.cast() };
    0
}

/// As aligned_alloc(3): at least `size` bytes at a multiple of `alignment`, a power of two. Returns NULL and sets errno to
/// EINVAL for another alignment, else to ENOMEM. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    if !alignment.is_power_of_two() {
        return invalid_argument();
    }
    checked(alloc::allocate_aligned(size, alignment))
}

/// As memalign(3): pymalloc_aligned_alloc(), but an alignment that is no power of two is rounded up to one, as in
/// glibc. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_memalign(alignment: usize, size: usize) -> *mut c_void {
    match alignment.checked_next_power_of_two() {
        Some(alignment) => checked(alloc::allocate_aligned(size, alignment)),
        None => invalid_argument(),
    }
}

/// As valloc(3): at least `size` bytes at the start of a page. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_valloc(size: usize) -> *mut c_void {
    checked(alloc::allocate_aligned(size, os::page_size()))
}

/// As pvalloc(3): whole pages. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_pvalloc(size: usize) -> *mut c_void {
    match os::round_to_pages(size) {
        Some(size) => checked(alloc::allocate_aligned(size, os::page_size())),
        None => out_of_memory(),
    }
}

/// As malloc_usable_size(3): the bytes of a block that may be used, at least as many as were asked for; 0 for NULL. Bad
/// pointers as pymalloc_free(). Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_malloc_usable_size(ptr: *mut c_void) -> usize {
    alloc::usable_size(ptr.cast(), Call::UsableSize)
}

/// As C23's free_sized(): pymalloc_free() of a block that was allocated with this size. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_free_sized(ptr: *mut c_void, size: usize) {
    let _ = size;
    // SAFETY: passed on from the caller.
    unsafe { alloc::free::<{ Call::FreeSized as u8 }>(ptr.cast()) }
}

/// As C23's free_aligned_sized(): pymalloc_free() of a block that was allocated with this alignment and size. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_free_aligned_sized(
    ptr: *mut c_void,
    alignment: usize,
    size: usize,
) {
    let _ = (alignment, size);
    // SAFETY: passed on from the caller.
    unsafe { alloc::free::<{ Call::FreeAlignedSized as u8 }>(ptr.cast()) }
}

/// Gives all memory back to the system that can be given back now: empty pools of every thread, free pages of arenas,
/// empty arenas, freed mappings. `keep`, which malloc_trim(3) has, is ignored: nothing is kept. Returns 1 if memory went
/// back, else 0. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_trim(keep: usize) -> c_int {
    let _ = keep;
    c_int::from(alloc::trim())
}

/// Tells what `ptr` is: whether memory of this library, and of which arena, pool, size class and block, and the state of the
/// block. Returns 1 and fills `*info` if it is ours, else 0 (and fills it with zeroes). Safe for any pointer, at
/// any time; of a block that another thread uses the state is that of a moment during the call. `info` may be NULL.
/// Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_inspect(ptr: *const c_void, info: *mut Info) -> c_int {
    let found = inspect::inspect(ptr);
    if !info.is_null() {
        // SAFETY: the caller's pointer is valid for writing.
        unsafe { info.write(found) };
    }
    c_int::from(found.kind != Kind::None)
}

/// Writes a table of arenas, pools and blocks to stderr, as malloc_stats(3). Allocates nothing, and asks the system nothing. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_malloc_stats() {
    stats::print(&stats::collect());
}

/// As malloc_info(3): writes an XML document about the library's memory to `stream`. `options` must be 0. Returns 0, or EINVAL for
/// other options. Thread-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    // SAFETY: the text is readable for its length, and the stream is the caller's. A stream that cannot be written says so to
    // its owner (ferror).
    let sink: Sink = |stream, text| unsafe {
        libc::fwrite(
            text.as_ptr().cast(),
            1,
            text.len(),
            stream as *mut libc::FILE,
        );
        0
    };
    let mut buffer = [0; BUFFER];
    let mut text = Text::new(&mut buffer, sink, stream as usize);
    stats::collect().write_xml(&mut text);
    text.flush()
}

/// 0 for an `error` of 0; else sets `errno` to it, and is -1.
fn status(error: c_int) -> c_int {
    if error == 0 {
        return 0;
    }
    os::set_errno(error);
    -1
}

/// Counts the figures of the library into `*stats`. `size` is `sizeof(pymalloc_stats)`: as many bytes are filled as both it
/// and the library's own structure have, so that a program may have been compiled with the header of another version; what is
/// behind stays as it is. Reads /proc. Returns 0, or -1 with errno EINVAL when `stats` is NULL or `size` is 0. What other threads allocate
/// and free meanwhile is counted or not. Walks over all arenas; allocates nothing. Thread-safe. See pymalloc_stats_json() for
/// the figures of each size class.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pymalloc_stats_get(stats: *mut Stats, size: usize) -> c_int {
    if stats.is_null() || size == 0 {
        return status(libc::EINVAL);
    }
    let found = stats::collect().of_this_process().whole;
    // SAFETY: the caller's memory is writable for this many bytes; it may be a part of a structure only.
    unsafe {
        ptr::copy_nonoverlapping(
            ptr::from_ref(&found).cast::<u8>(),
            stats.cast::<u8>(),
            size.min(size_of::<Stats>()),
        )
    };
    0
}

/// Writes the figures of the library and of each size class to the file descriptor `fd`: one JSON object on one line.
/// Returns 0, or -1 with the errno of the write; a part may have been written then. Reads /proc. Allocates nothing. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_stats_json(fd: c_int) -> c_int {
    let mut buffer = [0; BUFFER];
    let mut text = Text::to(fd, &mut buffer);
    stats::collect().of_this_process().write_json(&mut text);
    status(text.text("\n").flush())
}

/// For pymalloc_heapmap(): leave the states of the single blocks out. The free blocks that threads have at hand then count as in use in
/// their pools; in the totals they do not.
pub const PYMALLOC_HEAPMAP_WITHOUT_BLOCKS: c_int = 1;

/// Writes a snapshot of the heap to the file descriptor `fd`: every arena, pool, block and mapping, as one JSON object on one
/// line, a call of write(2) an arena. `flags` is 0 or PYMALLOC_HEAPMAP_WITHOUT_BLOCKS. Returns 0, or -1 with errno EINVAL for
/// other flags, or with that of the write; a part may have been written then. Each arena is shown as it is at some moment
/// during the call. `fd` may be a pipe that another thread of this process reads. At most 65,536 arenas are shown. Allocates
/// nothing, and makes no page of a block resident. Thread-safe: one snapshot at a time is written, the others wait.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_heapmap(fd: c_int, flags: c_int) -> c_int {
    if flags & !PYMALLOC_HEAPMAP_WITHOUT_BLOCKS != 0 {
        return status(libc::EINVAL);
    }
    status(heapmap::write(fd, flags == 0))
}

/// The figures that mallinfo has room for.
#[inline(never)]
pub(super) fn summary() -> Mallinfo2 {
    let Counted {
        whole: stats,
        free_blocks,
        ..
    } = stats::collect();
    Mallinfo2 {
        arena: stats.arenas_live * ARENA_SIZE,
        ordblks: free_blocks,
        hblks: stats.mappings_count,
        hblkhd: stats.mappings_bytes,
        usmblks: stats.arenas_most * ARENA_SIZE,
        uordblks: stats.bytes_in_use - stats.mappings_bytes,
        fordblks: stats.bytes_free + stats.slots_free * SLOT_SIZE,
        keepcost: stats.mappings_kept_bytes,
        ..Mallinfo2::default()
    }
}

/// As mallinfo2(3), in bytes: `arena` is the arenas' address space, `usmblks` the most it ever was, `hblks` and `hblkhd` the
/// number and bytes of mappings, `ordblks` the number of free blocks, `uordblks` the bytes in use outside of mappings,
/// `fordblks` the bytes free, `keepcost` the bytes of freed mappings that are kept. The rest is 0. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn pymalloc_mallinfo2() -> Mallinfo2 {
    summary()
}
