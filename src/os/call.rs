//! System calls made by the library itself, and not by the C library's functions.
//!
//! A program, or a tool that it runs under, may put functions of its own in the place of the C library's `mmap` and its like, and those may
//! allocate. So they would come back into the library from within its locks. The C library's own allocator makes its calls itself for the
//! same reason. What must hold: nothing here touches `errno`, and nothing here calls a function of another object.

use core::ffi::c_long;

/// The results from here on are errors: the negative of an `errno`.
const FIRST_ERROR: usize = -4095isize as usize;

/// What a call returned, or its `errno`.
#[inline(always)]
fn result_of(returned: usize) -> Result<usize, i32> {
    match returned >= FIRST_ERROR {
        true => Err(returned.wrapping_neg() as i32),
        false => Ok(returned),
    }
}

/// Makes a system call by its number, with up to six arguments (the others are 0), and returns what it does, or its `errno`. No cancellation
/// point, as the C library's functions that wait are: there a thread could end while it has what others wait for.
///
/// # Safety
/// As the call.
#[inline(always)]
pub unsafe fn system_call<const COUNT: usize>(
    number: c_long,
    arguments: [usize; COUNT],
) -> Result<usize, i32> {
    const { assert!(COUNT <= 6) };
    let all = core::array::from_fn(|place| arguments.get(place).copied().unwrap_or(0));
    // SAFETY: passed on from the caller.
    result_of(unsafe { enter(number, all) })
}

#[cfg(all(target_arch = "x86_64", not(portable)))]
#[inline(always)]
unsafe fn enter(number: c_long, arguments: [usize; 6]) -> usize {
    let returned;
    // SAFETY: the kernel's convention; it changes the two registers that are named besides, and what the caller vouches for.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as usize => returned,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, preserves_flags),
        );
    }
    returned
}

#[cfg(all(target_arch = "aarch64", not(portable)))]
#[inline(always)]
unsafe fn enter(number: c_long, arguments: [usize; 6]) -> usize {
    let returned;
    // SAFETY: the kernel's convention; it changes no other register, and what the caller vouches for.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number as usize,
            inlateout("x0") arguments[0] => returned,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x5") arguments[5],
            options(nostack, preserves_flags),
        );
    }
    returned
}

/// Elsewhere by the C library's function for any call, which hardly anyone puts another in the place of.
#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(portable))))]
#[inline(never)]
unsafe fn enter(number: c_long, arguments: [usize; 6]) -> usize {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: passed on from the caller. The location of the errno is this thread's own.
    super::errno::keep_errno(|| unsafe {
        match libc::syscall(number, first, second, third, fourth, fifth, sixth) {
            -1 => -(*libc::__errno_location() as isize) as usize,
            returned => returned as usize,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::system_call;

    #[test]
    fn results_and_errors_are_told_apart() {
        // SAFETY: neither call touches memory.
        unsafe {
            let own = system_call(libc::SYS_getpid, []);
            assert_eq!(own, Ok(std::process::id() as usize));
            let bad = system_call(libc::SYS_close, [usize::MAX]);
            assert_eq!(bad, Err(libc::EBADF));
        }
    }
}
