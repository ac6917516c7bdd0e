//! Operations of the fast paths that the machine does in one instruction and the compiler in two.
//!
//! - `is_below`: it merges no relaxed load into a comparison.
//! - `add_behind`: it does merge the load, the addition and the store. But then it shares what follows between the two halves of `malloc`, by a jump.
//! - `count_down`: it does not use that the subtraction tells whether zero is left.
//!
//! What they mean is what the portable versions say. On x86-64 a plain aligned access is a relaxed atomic one. `make bench-instructions` without
//! each: one instruction more of a malloc/free pair; without `count_down`, of a free past the bin.

#[cfg(all(target_arch = "x86_64", not(any(portable, loom))))]
mod x86_64 {
    use core::arch::asm;

    /// Whether `value` is below the number at `base + offset + OFFSET + FIELD`, loaded relaxed.
    ///
    /// # Safety
    /// An aligned `AtomicU64` must be there.
    #[inline(always)]
    pub unsafe fn is_below<const OFFSET: usize, const FIELD: usize>(
        value: u64,
        base: usize,
        offset: usize,
    ) -> bool {
        // SAFETY: reads one word that the caller vouches for.
        unsafe {
            asm!(
                "cmp {value}, qword ptr [{base} + {offset} + {more} + {field}]",
                "jae {otherwise}",
                value = in(reg) value,
                base = in(reg) base,
                offset = in(reg) offset,
                more = const OFFSET,
                field = const FIELD,
                otherwise = label { return false },
                options(nostack, readonly),
            );
        }
        true
    }

    /// Adds `AMOUNT` to the number at `base + offset + OFFSET`, by a relaxed load and a relaxed store.
    ///
    /// # Safety
    /// An aligned `AtomicI32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn add_behind<const OFFSET: usize, const AMOUNT: i32>(base: usize, offset: usize) {
        // SAFETY: changes the number that the caller vouches for.
        unsafe {
            asm!(
                "add dword ptr [{base} + {offset} + {more}], {amount}",
                base = in(reg) base,
                offset = in(reg) offset,
                more = const OFFSET,
                amount = const AMOUNT,
                options(nostack),
            );
        }
    }

    /// Subtracts one from the number `OFFSET` bytes behind `base` by a relaxed load and a release store. True when
    /// zero is left.
    ///
    /// # Safety
    /// An aligned `AtomicU32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn count_down<const OFFSET: usize>(base: *const u8) -> bool {
        // SAFETY: changes the number that the caller vouches for.
        unsafe {
            asm!(
                "dec dword ptr [{base} + {offset}]",
                "jz {zero}",
                base = in(reg) base,
                offset = const OFFSET,
                zero = label { return true },
                options(nostack),
            );
        }
        false
    }
}

#[cfg(all(target_arch = "x86_64", not(any(portable, loom))))]
pub use x86_64::{add_behind, count_down, is_below};

#[cfg(any(not(target_arch = "x86_64"), portable, loom))]
mod portable {
    use crate::sync::{AtomicU32, AtomicU64, Ordering};
    use core::sync::atomic::AtomicI32;

    /// Whether `value` is below the number at `base + offset + OFFSET + FIELD`, loaded relaxed.
    ///
    /// # Safety
    /// An aligned `AtomicU64` must be there.
    #[inline(always)]
    pub unsafe fn is_below<const OFFSET: usize, const FIELD: usize>(
        value: u64,
        base: usize,
        offset: usize,
    ) -> bool {
        let number = (base + offset + OFFSET + FIELD) as *const AtomicU64;
        // SAFETY: the caller vouches for the number.
        value < unsafe { &*number }.load(Ordering::Relaxed)
    }

    /// Adds `AMOUNT` to the number at `base + offset + OFFSET`, by a relaxed load and a relaxed store.
    ///
    /// # Safety
    /// An aligned `AtomicI32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn add_behind<const OFFSET: usize, const AMOUNT: i32>(base: usize, offset: usize) {
        // SAFETY: the caller vouches for the number.
        let number = unsafe { AtomicI32::from_ptr((base + offset + OFFSET) as *mut i32) };
        number.store(
            number.load(Ordering::Relaxed).wrapping_add(AMOUNT),
            Ordering::Relaxed,
        );
    }

    /// Subtracts one from the number `OFFSET` bytes behind `base` by a relaxed load and a release store. True when
    /// zero is left.
    ///
    /// # Safety
    /// An aligned `AtomicU32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn count_down<const OFFSET: usize>(base: *const u8) -> bool {
        // SAFETY: the caller vouches for the number.
        let number = unsafe { &*base.wrapping_add(OFFSET).cast::<AtomicU32>() };
        let left = number.load(Ordering::Relaxed).wrapping_sub(1);
        // Release: whoever sees the count go down may have the pool's slots used anew, after all that was stored before.
        number.store(left, Ordering::Release);
        left == 0
    }
}

#[cfg(any(not(target_arch = "x86_64"), portable, loom))]
pub use portable::{add_behind, count_down, is_below};
