//! What the dynamic linker knows: where other definitions of a function are.
//!
//! All of it is rare: an allocation has failed, or the program has functions of its own in the place of the library's. So the dynamic
//! linker's functions are looked up by name: each one that the library names costs every process a search when it starts. They take the
//! dynamic linker's lock, and `dlopen` allocates: no lock of the library may be held.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem;
use core::ptr::{self, NonNull};

type Dladdr1 =
    unsafe extern "C" fn(*const c_void, *mut libc::Dl_info, *mut *mut c_void, c_int) -> c_int;
type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Dlclose = unsafe extern "C" fn(*mut c_void) -> c_int;

/// What `dladdr1` is asked for.
const SYMBOL: c_int = 1;
const OBJECT: c_int = 2;

/// The start of a `struct link_map`.
#[repr(C)]
struct Object {
    base: usize,
    /// The file; empty for the program itself.
    path: *const c_char,
}

/// Looks a function up from `place`, a handle or one of the special values.
fn look_up(place: *mut c_void, name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name is a C string; the callers' places are valid.
    NonNull::new(unsafe { libc::dlsym(place, name.as_ptr()) })
}

/// The next definition of a function, behind the library's own, in the order of the dynamic linker's search.
pub fn next_definition(name: &CStr) -> Option<NonNull<c_void>> {
    look_up(libc::RTLD_NEXT, name)
}

/// What `dladdr1` knows of an address: the object around it, or the symbol.
fn known_of(address: usize, what: c_int) -> Option<NonNull<c_void>> {
    let dladdr1 = look_up(libc::RTLD_DEFAULT, c"dladdr1")?;
    let mut known = ptr::null_mut();
    // SAFETY: the function of this name has this type; it fills both places.
    let found = unsafe {
        let dladdr1 = mem::transmute::<NonNull<c_void>, Dladdr1>(dladdr1);
        let mut info = mem::zeroed();
        dladdr1(
            ptr::without_provenance(address),
            &mut info,
            &mut known,
            what,
        )
    };
    if found == 0 {
        return None;
    }
    NonNull::new(known)
}

/// Whether an address only leads to the function that it stands for: a program that is not position-independent and takes a
/// function's address has an entry of its own for it, which every other object then sees as the function.
pub fn is_detour(address: usize) -> bool {
    // SAFETY: the symbol of a loaded object.
    known_of(address, SYMBOL)
        .is_some_and(|symbol| unsafe { symbol.cast::<libc::Elf64_Sym>().as_ref() }.st_shndx == 0)
}

/// The definition of a function that the object around an address would find in itself or in the libraries that it was linked with, if the
/// object is not the program itself, and the definition not the library's own.
pub fn definition_for(address: usize, name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the object is loaded as long as its code runs, and its path a C string.
    let path = unsafe { CStr::from_ptr(known_of(address, OBJECT)?.cast::<Object>().as_ref().path) };
    match path.is_empty() {
        true => None,
        false => definition_in(path, name),
    }
}

/// The definition of a function in a library, or one that it was linked with, if that is loaded, and the definition not the library's own.
pub fn definition_in(library: &CStr, name: &CStr) -> Option<NonNull<c_void>> {
    let dlopen = look_up(libc::RTLD_DEFAULT, c"dlopen")?;
    let dlclose = look_up(libc::RTLD_DEFAULT, c"dlclose")?;
    // SAFETY: the functions of these names have these types. The library is loaded already, or it is not opened; so it stays when the
    // handle is closed.
    let found = unsafe {
        let dlopen = mem::transmute::<NonNull<c_void>, Dlopen>(dlopen);
        let dlclose = mem::transmute::<NonNull<c_void>, Dlclose>(dlclose);
        let handle = NonNull::new(dlopen(
            library.as_ptr(),
            libc::RTLD_LAZY | libc::RTLD_NOLOAD,
        ))?;
        let found = look_up(handle.as_ptr(), name);
        dlclose(handle.as_ptr());
        found
    }?;
    let own = known_of(definition_in as *const () as usize, OBJECT)?;
    (known_of(found.addr().get(), OBJECT)? != own).then_some(found)
}
