//! Operations of the fast paths that the machine does in one instruction and the compiler in two or three: it does not merge
//! a relaxed load into the comparison or the subtraction that uses it, and it adds base and offset first where
//! one instruction takes both.
//!
//! What they mean is what the portable versions say; on x86-64 a plain aligned access is a relaxed atomic one.
//! Measured by `make bench-instructions`: five instructions of a malloc/free pair.

#[cfg(all(target_arch = "x86_64", not(portable)))]
mod x86_64 {
    use core::arch::asm;

    /// Loads the word at `base + offset + OFFSET + FIELD`, relaxed.
    ///
    /// # Safety
    /// The word must be readable and aligned.
    #[inline(always)]
    pub unsafe fn load_behind<const OFFSET: usize, const FIELD: usize>(
        base: usize,
        offset: usize,
    ) -> usize {
        let value;
        // SAFETY: reads one word that the caller vouches for.
        unsafe {
            asm!(
                "mov {value}, qword ptr [{base} + {offset} + {more} + {field}]",
                value = lateout(reg) value,
                base = in(reg) base,
                offset = in(reg) offset,
                more = const OFFSET,
                field = const FIELD,
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

    /// How far `address` is behind the one that is stored at `base + offset + OFFSET + FIELD`.
    ///
    /// # Safety
    /// An aligned address must be there, which nobody writes meanwhile.
    #[inline(always)]
    pub unsafe fn distance_from<const OFFSET: usize, const FIELD: usize>(
        address: usize,
        base: usize,
        offset: usize,
    ) -> u64 {
        let distance;
        // SAFETY: reads one word that the caller vouches for.
        unsafe {
            asm!(
                "sub {distance}, qword ptr [{base} + {offset} + {more} + {field}]",
                distance = inlateout(reg) address as u64 => distance,
                base = in(reg) base,
                offset = in(reg) offset,
                more = const OFFSET,
                field = const FIELD,
                options(nostack, readonly),
            );
        }
        distance
    }

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

    /// Whether the number `OFFSET` bytes behind `base`, loaded relaxed, is less than `LIMIT`.
    ///
    /// # Safety
    /// An aligned `AtomicI32` must be there.
    #[inline(always)]
    pub unsafe fn is_less<const OFFSET: usize, const LIMIT: i32>(base: *const u8) -> bool {
        // SAFETY: reads the number that the caller vouches for.
        unsafe {
            asm!(
                "cmp dword ptr [{base} + {offset}], {limit}",
                "jl {less}",
                base = in(reg) base,
                offset = const OFFSET,
                limit = const LIMIT,
                less = label { return true },
                options(nostack, readonly),
            );
        }
        false
    }

    /// Subtracts `AMOUNT` from the number `OFFSET` bytes behind `base` by a relaxed load and a relaxed store.
    ///
    /// # Safety
    /// An aligned `AtomicI32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn subtract<const OFFSET: usize, const AMOUNT: i32>(base: *const u8) {
        // SAFETY: changes the number that the caller vouches for.
        unsafe {
            asm!(
                "sub dword ptr [{base} + {offset}], {amount}",
                base = in(reg) base,
                offset = const OFFSET,
                amount = const AMOUNT,
                options(nostack),
            );
        }
    }

    /// Adds `AMOUNT` to the number at `base + offset + OFFSET`, by a relaxed load and a relaxed store.
    ///
    /// # Safety
    /// As `subtract`.
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

#[cfg(all(target_arch = "x86_64", not(portable)))]
pub use x86_64::{
    add_behind, count_down, distance_from, is_below, is_less, load_behind, store_behind, subtract,
};

#[cfg(not(all(target_arch = "x86_64", not(portable))))]
mod portable {
    use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

    /// Loads the word at `base + offset + OFFSET + FIELD`, relaxed.
    ///
    /// # Safety
    /// The word must be readable and aligned.
    #[inline(always)]
    pub unsafe fn load_behind<const OFFSET: usize, const FIELD: usize>(
        base: usize,
        offset: usize,
    ) -> usize {
        let word = (base + offset + OFFSET + FIELD) as *mut usize;
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

    /// How far `address` is behind the one that is stored at `base + offset + OFFSET + FIELD`.
    ///
    /// # Safety
    /// An aligned address must be there, which nobody writes meanwhile.
    #[inline(always)]
    pub unsafe fn distance_from<const OFFSET: usize, const FIELD: usize>(
        address: usize,
        base: usize,
        offset: usize,
    ) -> u64 {
        // SAFETY: the caller vouches for the word.
        address.wrapping_sub(unsafe { load_behind::<OFFSET, FIELD>(base, offset) }) as u64
    }

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
        let number = (base + offset + OFFSET + FIELD) as *mut u64;
        // SAFETY: the caller vouches for the number.
        value < unsafe { AtomicU64::from_ptr(number) }.load(Ordering::Relaxed)
    }

    /// Whether the number `OFFSET` bytes behind `base`, loaded relaxed, is less than `LIMIT`.
    ///
    /// # Safety
    /// An aligned `AtomicI32` must be there.
    #[inline(always)]
    pub unsafe fn is_less<const OFFSET: usize, const LIMIT: i32>(base: *const u8) -> bool {
        // SAFETY: the caller vouches for the number.
        let number = unsafe { AtomicI32::from_ptr(base.wrapping_add(OFFSET).cast_mut().cast()) };
        number.load(Ordering::Relaxed) < LIMIT
    }

    /// Subtracts `AMOUNT` from the number `OFFSET` bytes behind `base` by a relaxed load and a relaxed store.
    ///
    /// # Safety
    /// An aligned `AtomicI32` must be there, which only the calling thread writes.
    #[inline(always)]
    pub unsafe fn subtract<const OFFSET: usize, const AMOUNT: i32>(base: *const u8) {
        // SAFETY: the caller vouches for the number.
        let number = unsafe { AtomicI32::from_ptr(base.wrapping_add(OFFSET).cast_mut().cast()) };
        number.store(
            number.load(Ordering::Relaxed).wrapping_sub(AMOUNT),
            Ordering::Relaxed,
        );
    }

    /// Adds `AMOUNT` to the number at `base + offset + OFFSET`, by a relaxed load and a relaxed store.
    ///
    /// # Safety
    /// As `subtract`.
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
        let number = unsafe { AtomicU32::from_ptr(base.wrapping_add(OFFSET).cast_mut().cast()) };
        let left = number.load(Ordering::Relaxed).wrapping_sub(1);
        // Release: whoever sees the count go down may have the pool's slots used anew, after all that was stored before.
        number.store(left, Ordering::Release);
        left == 0
    }
}

#[cfg(not(all(target_arch = "x86_64", not(portable))))]
pub use portable::{
    add_behind, count_down, distance_from, is_below, is_less, load_behind, store_behind, subtract,
};
