//! Operations of the fast paths that the machine does in one instruction and the compiler in two or three: it does not merge
//! a relaxed load into the comparison or the subtraction that uses it, and it adds base and offset first where
//! one instruction takes both.
//!
//! What they mean is what the portable versions say; on x86-64 a plain aligned access is a relaxed atomic one.
//! Measured by `make bench-instructions`: five instructions of a malloc/free pair.

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::asm;

    /// Loads the word at `base + offset`, relaxed.
    ///
    /// # Safety
    /// The word must be readable and aligned.
    #[inline(always)]
    pub unsafe fn load_behind(base: usize, offset: usize) -> usize {
        let value;
        // SAFETY: reads one word that the caller vouches for.
        unsafe {
            asm!(
                "mov {value}, qword ptr [{base} + {offset}]",
                value = lateout(reg) value,
                base = in(reg) base,
                offset = in(reg) offset,
                options(nostack, readonly, preserves_flags),
            );
        }
        value
    }

    /// Stores a word at `base + offset`, relaxed.
    ///
    /// # Safety
    /// The word must be writable and aligned, and the caller may write it.
    #[inline(always)]
    pub unsafe fn store_behind(base: usize, offset: usize, value: usize) {
        // SAFETY: writes one word that the caller vouches for.
        unsafe {
            asm!(
                "mov qword ptr [{base} + {offset}], {value}",
                base = in(reg) base,
                offset = in(reg) offset,
                value = in(reg) value,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Whether `value` is below the number `OFFSET` bytes behind `base`, loaded relaxed.
    ///
    /// # Safety
    /// An aligned `AtomicU64` must be there.
    #[inline(always)]
    pub unsafe fn is_below<const OFFSET: usize>(value: u64, base: *const u8) -> bool {
        // SAFETY: reads one word that the caller vouches for.
        unsafe {
            asm!(
                "cmp {value}, qword ptr [{base} + {offset}]",
                "jae {otherwise}",
                value = in(reg) value,
                base = in(reg) base,
                offset = const OFFSET,
                otherwise = label { return false },
                options(nostack, readonly),
            );
        }
        true
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

#[cfg(target_arch = "x86_64")]
pub use x86_64::{count_down, is_below, load_behind, store_behind};

#[cfg(not(target_arch = "x86_64"))]
mod portable {
    use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// Loads the word at `base + offset`, relaxed.
    ///
    /// # Safety
    /// The word must be readable and aligned.
    #[inline(always)]
    pub unsafe fn load_behind(base: usize, offset: usize) -> usize {
        let word = (base + offset) as *mut usize;
        // SAFETY: the caller vouches for the word; an atomic may be made of any that is aligned.
        unsafe { AtomicUsize::from_ptr(word) }.load(Ordering::Relaxed)
    }

    /// Stores a word at `base + offset`, relaxed.
    ///
    /// # Safety
    /// The word must be writable and aligned, and the caller may write it.
    #[inline(always)]
    pub unsafe fn store_behind(base: usize, offset: usize, value: usize) {
        let word = (base + offset) as *mut usize;
        // SAFETY: the caller vouches for the word; an atomic may be made of any that is aligned.
        unsafe { AtomicUsize::from_ptr(word) }.store(value, Ordering::Relaxed)
    }

    /// Whether `value` is below the number `OFFSET` bytes behind `base`, loaded relaxed.
    ///
    /// # Safety
    /// An aligned `AtomicU64` must be there.
    #[inline(always)]
    pub unsafe fn is_below<const OFFSET: usize>(value: u64, base: *const u8) -> bool {
        // SAFETY: the caller vouches for the number.
        let number = unsafe { AtomicU64::from_ptr(base.wrapping_add(OFFSET).cast_mut().cast()) };
        value < number.load(Ordering::Relaxed)
    }

    /// Subtracts one from the number `OFFSET` bytes behind `base` by a relaxed load and a release store. True when
    /// zero is left.
    ///
    /// # Safety
    /// An aligned `AtomicU32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn count_down<const OFFSET: usize>(base: *const u8) -> bool {
        // SAFETY: the caller vouches for the number.
        let number = unsafe { AtomicU32::from_ptr(base.wrapping_add(OFFSET).cast_mut().cast()) };
        let left = number.load(Ordering::Relaxed).wrapping_sub(1);
        // Release: whoever sees the count go down may have the pool's slots used anew, after all that was stored before.
        number.store(left, Ordering::Release);
        left == 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use portable::{count_down, is_below, load_behind, store_behind};
