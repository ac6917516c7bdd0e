//! Allocate, free, resize: which layer serves a request, and to which a pointer belongs.
//!
//! | size | served by |
//! | --- | --- |
//! | up to `MAX_POOLED` | a block of a pool |
//! | up to `MAX_RUN` | a run of slots of an arena |
//! | larger, or aligned to more than a slot | a mapping of its own |
//!
//! The functions here know no `errno` and no C conventions; that is `abi`'s.
//! Every pointer that a program hands back is checked before a byte is written.

use crate::arena::{self, Slot};
use crate::fault::{self, Call, Fault};
use crate::geometry::{BLOCK_ALIGN, MAX_POOLED, MAX_RUN, SLOT_SIZE};
use crate::heap::{
    self, Bin, Heap, MapPlace, SlotTable, after_event, free_foreign, free_own, heaps, is_free,
    open_full_pools,
};
use crate::large;
use crate::mapping;
use crate::os::{self, SMALLEST_PAGE};
use crate::pool::{Block, NotAllocated, Pool};
use crate::retain;
use crate::size_class::{self, TABLE};
use crate::thread;
use core::mem::MaybeUninit;
use core::ptr;

/// A block, and whether every byte of it is known to be zero.
struct Fresh {
    address: *mut u8,
    zeroed: bool,
}

const FAILED: Fresh = Fresh {
    address: ptr::null_mut(),
    zeroed: false,
};

/// Allocates at least `size` bytes, aligned to 16. Null when the system has no memory, or `size` exceeds `isize::MAX`.
#[inline(always)]
pub fn allocate(size: usize) -> *mut u8 {
    allocate_or(size, allocate_beyond_bins)
}

/// The fast path of `allocate`: when it has no block at hand, `otherwise` takes over, as the last thing that is done, so that
/// the fast path needs no frame.
#[inline(always)]
pub fn allocate_or<R>(size: usize, otherwise: impl FnOnce(usize) -> *mut R) -> *mut R {
    allocate_from(thread::current, size, otherwise)
}

/// The same from the heap that is told of.
#[inline(always)]
pub fn allocate_from<R>(
    heap: impl FnOnce() -> &'static Heap,
    size: usize,
    otherwise: impl FnOnce(usize) -> *mut R,
) -> *mut R {
    if size <= size_class::SMALL_MAX {
        let block = heap().pop(size_class::small(size));
        if !block.is_null() {
            return block.cast();
        }
    } else if size <= MAX_POOLED {
        let block = heap().pop(size_class::medium(size));
        if !block.is_null() {
            return block.cast();
        }
    }
    otherwise(size)
}

/// What the fast path of `allocate` does not serve: sizes above `SMALL_MAX`, 0, and empty bins.
#[inline(never)]
pub fn allocate_beyond_bins(size: usize) -> *mut u8 {
    if size <= MAX_POOLED {
        let class = size_class::of(size);
        return or_after_relief(|| refill(class));
    }
    allocate_beyond_pools(size, BLOCK_ALIGN, false).address
}

fn refill(class: usize) -> Option<*mut u8> {
    let block = thread::with_heap(|heap| heap.refill(class));
    block.filter(|block| !block.is_null()).or_else(|| {
        // What the system refuses to unmap serves small blocks as well when it maps no more.
        let stuck = mapping::allocate_stuck(TABLE[class].block_size as usize)?;
        Some(stuck.as_ptr())
    })
}

/// Allocates a run or a mapping of at least `size` bytes, if possible one that is zero where that is wanted.
#[inline(never)]
fn allocate_beyond_pools(size: usize, align: usize, zeroed: bool) -> Fresh {
    if size > (isize::MAX as usize).saturating_sub(align) {
        return FAILED;
    }
    heap::decay();
    let attempt = || {
        if size <= MAX_RUN
            && align <= SLOT_SIZE
            && let Some(run) = large::allocate(size.max(1))
        {
            if run.raised_the_peak {
                // What pools retain would add to the peak.
                heap::give_up(size);
            }
            return Some(Fresh {
                address: run.address.as_ptr(),
                zeroed: run.zeroed,
            });
        }
        // When there is no room for another arena there may still be for a single mapping.
        let mapped = mapping::allocate(size.max(1), align, zeroed, make_room)?;
        Some(Fresh {
            address: mapped.address.as_ptr(),
            zeroed: mapped.zeroed,
        })
    };
    attempt()
        .or_else(|| relieve_for(size).then(attempt).flatten())
        .unwrap_or(FAILED)
}

/// What is retained anywhere goes before so many bytes more are touched, if that raises the peak, as far as one call goes.
#[inline(never)]
fn make_room(bytes: usize) {
    if bytes > 0 {
        let at_once = bytes.min(retain::MOST_AT_ONCE);
        arena::before_new_memory(bytes, &mut || {
            mapping::give_up_for_own(at_once);
            arena::give_up(at_once);
            heap::give_up(at_once);
        });
    }
}

/// As `attempt` for a block of a pool. When the system has no more, pools that are not worth looking for otherwise serve as well.
fn or_after_relief(attempt: impl Fn() -> Option<*mut u8>) -> *mut u8 {
    attempt()
        .or_else(|| (relieve() | open_full_pools()).then(attempt).flatten())
        .unwrap_or(ptr::null_mut())
}

/// From here on it is asked first whether the system would map so much: nothing that is kept is to go for what fails all the same.
const ASKED_FIRST: usize = 1 << 30;

/// As `relieve`, for so many bytes in one piece. False at once where the system would not map them even if all came back that could: then
/// nothing is walked over, and nothing that is kept is lost. Else true: the attempt itself may have brought something back.
#[cold]
fn relieve_for(size: usize) -> bool {
    let may_come = size < ASKED_FIRST || could_come(size);
    if may_come {
        relieve();
    }
    may_come
}

/// Whether the system would map so many bytes in one piece if all came back that could.
fn could_come(size: usize) -> bool {
    let mappings = mapping::counts();
    let at_most = arena::address_bytes() + mappings.cached_bytes + mappings.lazy_bytes;
    os::could_map_block(size.saturating_sub(at_most))
}

/// Unmaps everything that is kept for later, since the system has no more. True if there was anything. No pages go back: what it has no more
/// of are addresses, mappings, or memory that it has promised, and these stay so. What is walked over are pools that have free blocks.
#[cold]
fn relieve() -> bool {
    let pools = heaps::relieve(thread::own(), false);
    let mappings = mapping::trim();
    let arenas = arena::trim();
    pools | mappings | arenas
}

/// Returns everything to the system that can be returned now. True if there was anything.
pub fn trim() -> bool {
    let pools = heaps::trim(thread::own());
    let mappings = mapping::trim();
    let arenas = arena::trim();
    pools | mappings | arenas
}

/// As `allocate`, and every byte is zero.
pub fn allocate_zeroed(size: usize) -> *mut u8 {
    allocate_zeroed_aligned(size, BLOCK_ALIGN)
}

/// The fast path of `allocate_zeroed`, as `allocate_or`.
#[inline(always)]
pub fn allocate_zeroed_or<R>(size: usize, otherwise: impl FnOnce(usize) -> *mut R) -> *mut R {
    if size <= size_class::SMALL_MAX {
        let class = size_class::small(size);
        let block = thread::current().pop(class);
        if !block.is_null() {
            // SAFETY: a new block of the class, which is not that of size 0, since there is no block of it.
            unsafe { clear_block(block, class * BLOCK_ALIGN) };
            return block.cast();
        }
    }
    otherwise(size)
}

/// Up to here a block is cleared or copied by stores of 16 bytes, twice as many as it takes at most: two thirds of the instructions
/// of a call of `memset` (`make bench-instructions`).
const BY_STORES: usize = 128;

/// Calls `each` for the offsets of pieces of 16 bytes that make up the first `bytes` bytes, at least 16, a multiple of that, and at most
/// `BY_STORES`. From both ends, so that pieces overlap where the size is no power of two, and branches tell only the power.
#[inline(always)]
fn for_each_piece(bytes: usize, each: impl Fn(usize)) {
    const PIECE: usize = size_of::<u128>();
    debug_assert!((PIECE..=BY_STORES).contains(&bytes) && bytes.is_multiple_of(PIECE));
    let both_ends = |pieces: usize| {
        for piece in 0..pieces {
            each(piece * PIECE);
            each(bytes - (piece + 1) * PIECE);
        }
    };
    match bytes {
        65.. => both_ends(4),
        33.. => both_ends(2),
        _ => both_ends(1),
    }
}

/// Clears the first `bytes` bytes of a block, at least 16 and a multiple of that.
///
/// # Safety
/// A block of at least that size that nobody else uses.
#[inline(always)]
unsafe fn clear_block(block: *mut u8, bytes: usize) {
    if bytes > BY_STORES {
        // SAFETY: passed on from the caller.
        return unsafe { block.write_bytes(0, bytes) };
    }
    // SAFETY: aligned pieces of the block.
    for_each_piece(bytes, |at| unsafe {
        block.add(at).cast::<u128>().write(0);
    });
}

/// Copies the first `bytes` bytes of a block to another, and up to 15 behind them.
///
/// # Safety
/// Two different blocks, each of at least so many bytes, rounded up to a multiple of 16, that nobody else uses.
#[inline(always)]
unsafe fn copy_block(from: *const u8, to: *mut u8, bytes: usize) {
    if bytes > BY_STORES {
        // SAFETY: passed on from the caller.
        return unsafe { to.copy_from_nonoverlapping(from, bytes) };
    }
    // SAFETY: aligned pieces of the blocks. What the program never wrote is copied unseen.
    for_each_piece(bytes.next_multiple_of(BLOCK_ALIGN), |at| unsafe {
        let piece = from.add(at).cast::<MaybeUninit<u128>>().read();
        to.add(at).cast::<MaybeUninit<u128>>().write(piece);
    });
}

/// Clears a new block of at least `size` bytes, if there is one.
#[inline(always)]
fn cleared(block: *mut u8, size: usize) -> *mut u8 {
    if !block.is_null() {
        // SAFETY: a new block of that size.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

/// The size whose class a block of `size` bytes at a multiple of `align` is of; beyond all classes if it is of none.
#[inline(always)]
fn pooled_size(size: usize, align: usize) -> usize {
    debug_assert!(align.is_power_of_two());
    // A multiple of the alignment has a class whose blocks all are (`size_class`'s tests), since pools
    // start at multiples of the slot size.
    if align <= BLOCK_ALIGN {
        size
    } else if align <= SLOT_SIZE {
        size.max(1).saturating_add(align - 1) & !(align - 1)
    } else {
        usize::MAX
    }
}

/// Allocates at least `size` bytes at a multiple of `align`, a power of two. Null as `allocate`.
pub fn allocate_aligned(size: usize, align: usize) -> *mut u8 {
    allocate_aligned_from(thread::current, size, align, allocate_aligned_beyond_bins)
}

/// The fast path of `allocate_aligned`, as `allocate_from`.
#[inline(always)]
pub fn allocate_aligned_from<R>(
    heap: impl FnOnce() -> &'static Heap,
    size: usize,
    align: usize,
    otherwise: impl FnOnce(usize, usize) -> *mut R,
) -> *mut R {
    allocate_from(heap, pooled_size(size, align), |_| otherwise(size, align))
}

/// What the fast path of `allocate_aligned` does not serve.
#[inline(never)]
pub fn allocate_aligned_beyond_bins(size: usize, align: usize) -> *mut u8 {
    match pooled_size(size, align) {
        pooled @ ..=MAX_POOLED => allocate_beyond_bins(pooled),
        _ => allocate_beyond_pools(size, align.max(BLOCK_ALIGN), false).address,
    }
}

/// As `allocate_aligned`, and every byte is zero.
pub fn allocate_zeroed_aligned(size: usize, align: usize) -> *mut u8 {
    if pooled_size(size, align) <= MAX_POOLED {
        return cleared(allocate_aligned(size, align), size);
    }
    let fresh = allocate_beyond_pools(size, align.max(BLOCK_ALIGN), true);
    match fresh.zeroed {
        true => fresh.address,
        false => cleared(fresh.address, size),
    }
}

/// Where an allocated block lies.
enum Place<'a> {
    Pool(&'a Pool, &'a Block),
    Run(&'a Pool),
    Mapping(usize),
}

/// Finds the allocated block that starts at `address`, or says why there is none.
fn find(address: usize) -> Result<Place<'static>, Fault> {
    find_protected(address, false)
}

/// The same; with `protected`, of a block that the program may have protected from being read: whether it is free is not looked at then.
fn find_protected(address: usize, protected: bool) -> Result<Place<'static>, Fault> {
    match arena::run_of(address) {
        Slot::Run(header) => {
            // SAFETY: the header of an allocated run. If the program holds a block of it, it stays; for a stray pointer
            // it can vanish under our eyes only if another thread empties the arena right now.
            let pool: &'static Pool = unsafe { Pool::at(header) };
            if pool.class() == 0 {
                return match address == pool.start() {
                    true => Ok(Place::Run(pool)),
                    false => Err(Fault::Interior),
                };
            }
            let is_marked = |block: &Block| {
                !(protected && pool.may_be_protected(block)) && block.is_marked_free()
            };
            match pool.block_at(address) {
                Ok(block) if is_marked(block) && is_free(thread::own(), pool, block) => {
                    Err(Fault::AlreadyFree)
                }
                Ok(block) => Ok(Place::Pool(pool, block)),
                Err(NotAllocated::Interior) => Err(Fault::Interior),
                Err(NotAllocated::Purged) => Err(Fault::AlreadyFree),
                Err(NotAllocated::Untouched) => Err(Fault::NeverAllocated),
            }
        }
        Slot::Unallocated => Err(Fault::Unallocated),
        Slot::Outside => match mapping::size_of(address) {
            Some(size) => Ok(Place::Mapping(size)),
            None if mapping::containing(address).is_some() => Err(Fault::Interior),
            None => Err(Fault::Foreign),
        },
    }
}

/// Frees a block; null is ignored. Any other pointer that is not that of an allocated block ends the
/// process with a message.
///
/// # Safety
/// The block must not be used afterwards.
#[inline(always)]
pub unsafe fn free<const CALL: u8>(block: *mut u8) {
    // SAFETY: passed on from the caller.
    unsafe { free_or(thread::slot_table(), block, free_elsewhere::<CALL>) }
}

/// The fast path of `free`, as `allocate_or`: of a block that the calling thread's slot map shows.
///
/// # Safety
/// As `free`.
#[inline(always)]
pub unsafe fn free_or(table: SlotTable, block: *mut u8, otherwise: impl FnOnce(*mut u8)) {
    if let Some((bin, place)) = table.bin_of(block as usize) {
        // SAFETY: the start of a cut block of a pool of ours, which is mapped and aligned.
        let freed = unsafe { &*block.cast::<Block>() };
        // SAFETY: the program gives the block up, or else it is free and ours.
        if !unsafe { freed.is_marked_free_already() } {
            if bin.has_room() {
                bin.push(freed);
                return;
            }
            return free_past_bin(freed, table, place);
        }
    }
    otherwise(block);
}

/// The fast path of `free` when the bin has its fill: the block goes to its pool.
#[inline(never)]
fn free_past_bin(block: &Block, table: SlotTable, place: MapPlace) {
    let pool = table.pool_at(place);
    if pool.push(block) {
        after_event_of(pool);
    }
}

/// The rare end of `free`: the countdown of the pool is at zero.
#[cold]
#[inline(never)]
fn after_event_of(pool: &Pool) {
    after_event(thread::current(), pool);
}

/// What the fast path of `free` does not serve: null, pools of others and full ones, runs, mappings, mistakes.
#[inline(never)]
pub fn free_elsewhere<const CALL: u8>(block: *mut u8) {
    let call = Call::from_number(CALL);
    if block.is_null() {
        return;
    }
    match find(block as usize) {
        Ok(Place::Pool(pool, block)) => free_in_pool(pool, block),
        found => free_outside_pools(found, block, call),
    }
}

/// The rest of `free_elsewhere`, of which there is one for every call that frees.
#[inline(never)]
fn free_outside_pools(found: Result<Place, Fault>, block: *mut u8, call: Call) {
    heap::decay();
    let fault = match found {
        Ok(Place::Pool(pool, block)) => return free_in_pool(pool, block),
        Ok(Place::Run(run)) => return large::free(run),
        Ok(Place::Mapping(_)) if mapping::free(block as usize) => return,
        // Another thread freed it since `find`.
        Ok(Place::Mapping(_)) => Fault::AlreadyFree,
        Err(fault) => fault,
    };
    fault::end(call, block, fault)
}

fn free_in_pool(pool: &Pool, block: &Block) {
    let heap = thread::own_for_free();
    match heap {
        Some(heap) if pool.is_owned_by(heap.as_owner()) => {
            thread::widen_map_if_contested(heap);
            free_own(heap, pool, block);
        }
        _ => free_foreign(heap, pool, block),
    }
}

/// Bytes of a block that the program may use; 0 for null. As `free` for other pointers. The block is not read where the program may have
/// protected it.
#[inline(always)]
pub fn usable_size(block: *mut u8, call: Call) -> usize {
    let table = thread::slot_table();
    let Some((bin, _)) = table.bin_of(block as usize) else {
        return usable_size_elsewhere(block, call);
    };
    // SAFETY: the start of a cut block of a pool of ours, which is mapped and aligned.
    let held = unsafe { &*block.cast::<Block>() };
    if may_start_page(block) {
        return usable_size_of_page(held, bin, table, call);
    }
    // SAFETY: the program holds the block, or else it is free and ours.
    match unsafe { held.is_marked_free_already() } {
        true => usable_size_elsewhere(block, call),
        false => table.block_size_of(bin),
    }
}

/// Whether a block starts where a page may. (The bits that are zero in each block are left out: the test takes an instruction less.)
#[inline(always)]
fn may_start_page(block: *mut u8) -> bool {
    block as usize & (SMALLEST_PAGE - BLOCK_ALIGN) == 0
}

/// The rest of `usable_size` for a block of one of the thread's own pools at the start of a page. If the page lies wholly in the block, the
/// program may have protected it, and whether the block is free is not looked at.
#[inline(never)]
fn usable_size_of_page(held: &Block, bin: &Bin, table: SlotTable, call: Call) -> usize {
    let size = table.block_size_of(bin);
    // SAFETY: the program holds the block, or else it is free and ours; and no page lies in it.
    match size < SMALLEST_PAGE && unsafe { held.is_marked_free_already() } {
        true => usable_size_elsewhere(ptr::from_ref(held).cast_mut().cast(), call),
        false => size,
    }
}

/// What the fast path of `usable_size` does not serve.
#[inline(never)]
fn usable_size_elsewhere(block: *mut u8, call: Call) -> usize {
    if block.is_null() {
        return 0;
    }
    match find_protected(block as usize, true) {
        Ok(Place::Pool(pool, _)) => pool.block_size(),
        Ok(Place::Run(run)) => large::size_of(run),
        Ok(Place::Mapping(size)) => size,
        Err(fault) => fault::end(call, block, fault),
    }
}

/// A block stays where it is when it shrinks to no less than this part of its size (3/4, as in CPython).
const fn is_worth_moving(old: usize, new: usize) -> bool {
    new < old / 4 * 3
}

/// Whether a block of a pool stays where it is when it is resized.
#[inline(always)]
const fn stays(old: usize, new: usize) -> bool {
    new <= old && !is_worth_moving(old, new)
}

/// The size of a block of one of the thread's own pools. `None` for all other pointers, and for a block that looks free.
#[inline(always)]
fn own_size(block: *mut u8) -> Option<usize> {
    let table = thread::slot_table();
    let (bin, _) = table.bin_of(block as usize)?;
    // SAFETY: the start of a cut block of a pool of ours, which is mapped and aligned.
    let held = unsafe { &*block.cast::<Block>() };
    // SAFETY: the program holds the block, or else it is free and ours.
    (!unsafe { held.is_marked_free_already() }).then(|| table.block_size_of(bin))
}

/// The fast path of `resize`, for any pointer and size: a block of one of the thread's own pools that stays where it is. As
/// `allocate_or`.
#[inline(always)]
pub fn resize_or<R>(
    block: *mut u8,
    size: usize,
    otherwise: impl FnOnce(*mut u8, usize) -> *mut R,
) -> *mut R {
    match own_size(block) {
        // Not for a size of 0, to which no block is near enough.
        Some(old) if stays(old, size) => block.cast(),
        _ => otherwise(block, size),
    }
}

/// Resizes a block to at least `size` bytes, which is not 0, and keeps its contents. Null, and nothing changed, when
/// the system has no memory. As `free` for pointers that are not those of blocks.
///
/// # Safety
/// The old pointer must not be used after a success.
pub unsafe fn resize(block: *mut u8, size: usize, call: Call) -> *mut u8 {
    if size > isize::MAX as usize {
        return ptr::null_mut();
    }
    if let Some(old) = own_size(block) {
        return match stays(old, size) {
            true => block,
            // SAFETY: passed on from the caller.
            false => unsafe { move_to_new(block, old, size) },
        };
    }
    let old = match find(block as usize) {
        Ok(Place::Pool(pool, _)) if stays(pool.block_size(), size) => return block,
        Ok(Place::Pool(pool, _)) => pool.block_size(),
        Ok(Place::Run(run)) => {
            if size > MAX_POOLED && size <= MAX_RUN && large::resize(run, size) {
                return block;
            }
            large::size_of(run)
        }
        Ok(Place::Mapping(old)) => {
            if size > MAX_RUN {
                let attempt = || mapping::resize(block as usize, size, make_room);
                // Only where it has no memory: what the system sees as several mappings it refuses to resize however much is free.
                let more = size.saturating_sub(old);
                let resized =
                    attempt().or_else(|error| match error == libc::ENOMEM && relieve_for(more) {
                        true => attempt(),
                        false => Err(error),
                    });
                if let Ok(resized) = resized {
                    return resized.as_ptr();
                }
                // The system also refuses when the program has split the mapping by `madvise`, `mprotect` or `mlock` of
                // a part, or it was put together: it can be copied still.
            }
            old
        }
        Err(fault) => fault::end(call, block, fault),
    };
    // SAFETY: passed on from the caller.
    unsafe { move_to_new(block, old, size) }
}

/// The part of `resize` that copies: a block of `old` bytes.
///
/// # Safety
/// As `resize`.
#[inline]
unsafe fn move_to_new(block: *mut u8, old: usize, size: usize) -> *mut u8 {
    let new = allocate(size);
    if new.is_null() {
        // A smaller block can stay where it is.
        return if size <= old { block } else { new };
    }
    // SAFETY: both blocks are at least this long, rounded up as all sizes of blocks are, and a new block overlaps no other. The old
    // one is given up here.
    unsafe {
        copy_block(block, new, old.min(size));
        free::<{ Call::Realloc as u8 }>(block);
    }
    new
}
