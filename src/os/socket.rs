//! A connection to a program on this machine that listens to a socket with a name of its own, which is no file.
//!
//! What must hold: nothing here waits for the other side but `wait_until_closed`, and no signal comes of its end.

use super::call::system_call;
use super::file::File;
use super::sizes::SOCKET_NAME as NAME;
use super::wait::{sleep, timespec};
use core::ptr;

/// Milliseconds that a caller which insists is given while the system's queue is full of others that wait.
const PATIENCE: u32 = 100;

/// As `sockaddr_un`, for a name that is no file: such a one begins with a zero byte.
#[repr(C)]
struct Address {
    family: u16,
    zero: u8,
    name: [u8; NAME],
}
const _: () = assert!(size_of::<Address>() == size_of::<libc::sockaddr_un>());

pub struct Connection(File);

impl Connection {
    /// Connects to whoever listens to a name. The errno of a failure: `ECONNREFUSED` when nobody does.
    #[inline(never)]
    pub fn open(name: &[u8], insists: bool) -> Result<Self, i32> {
        const HOW: i32 = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let arguments = [libc::AF_UNIX as usize, HOW as usize, 0];
        // SAFETY: no memory is touched.
        let socket = unsafe { system_call(libc::SYS_socket, arguments) }.map(File::from_number)?;
        let connection = Connection(socket.out_of_the_way());
        let mut tries = if insists { PATIENCE } else { 0 };
        loop {
            match connection.connect(name) {
                Err(libc::EAGAIN) if tries > 0 => sleep(1),
                Err(error) => return Err(error),
                Ok(_) => return Ok(connection),
            }
            tries -= 1;
        }
    }

    fn connect(&self, name: &[u8]) -> Result<usize, i32> {
        let mut address = Address {
            family: libc::AF_UNIX as u16,
            zero: 0,
            name: [0; NAME],
        };
        let Some(place) = address.name.get_mut(..name.len()) else {
            return Err(libc::EINVAL);
        };
        place.copy_from_slice(name);
        let length = size_of::<Address>() - NAME + name.len();
        let arguments = [self.0.number(), &raw const address as usize, length];
        // SAFETY: reads the address.
        unsafe { system_call(libc::SYS_connect, arguments) }
    }

    pub fn descriptor(&self) -> i32 {
        self.0.number() as i32
    }

    /// Tells the other side that no more will come.
    pub fn finish(&self) {
        let _ = self.0.call(libc::SYS_shutdown, libc::SHUT_WR as usize, 0);
    }

    /// Waits until the other side has closed the connection, `milliseconds` at most, or until a signal comes.
    #[inline(never)]
    pub fn wait_until_closed(&self, milliseconds: u64) {
        let time = timespec(milliseconds);
        let mut wanted = libc::pollfd {
            fd: self.descriptor(),
            events: libc::POLLIN,
            revents: 0,
        };
        let arguments = [&raw mut wanted as usize, 1, &raw const time as usize, 0];
        // SAFETY: writes what came; the time is read.
        let _ = unsafe { system_call(libc::SYS_ppoll, arguments) };
    }
}

/// Sends all of `bytes`. Returns 0, or the errno of the failure: also where the other side does not take them at once.
#[inline(never)]
pub fn send(descriptor: i32, mut bytes: &[u8]) -> i32 {
    while !bytes.is_empty() {
        let mut part = libc::iovec {
            iov_base: ptr::from_ref(bytes).cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: a plain C structure.
        let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        let flags = libc::MSG_NOSIGNAL as usize;
        let arguments = [descriptor as usize, &raw const message as usize, flags];
        // SAFETY: reads the message, and the bytes.
        match unsafe { system_call(libc::SYS_sendmsg, arguments) } {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or(&[]),
            Err(libc::EINTR) => {}
            Err(error) => return error,
        }
    }
    0
}
