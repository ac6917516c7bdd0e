//! What the process tells the collector of `pymalloc run`: that it has begun, its figures from time to time, and that it ends in an orderly way.
//!
//! The setting `collector` names the socket that the collector listens to. Each message goes through a connection of its own, so that nothing
//! stays open in the program, and ends with it:
//!
//! ```text
//!   {"pymalloc":"0.1.0","event":"figures","pid":123,"parent":1,"command":"python3","line":"python3 app.py","time":1700000000.123,
//!    "status":0,                                             of the event "end": what the program gave to `exit`
//!    "resident":1,"peak":1,"in_use":1,"free":1}                       of the events "figures" and "end"
//!   pymalloc: statistics
//!   ...                                                      and the table of `malloc_stats`
//! ```
//!
//! What must hold: a process never waits for the collector, but for the process that the setting `collector_wait` names, at its end.
//! Once nobody listens, nothing more is told.

use crate::conf;
use crate::os::{self, socket::Connection};
use crate::report::{BUFFER, Text};
use crate::stats::{self, json};
use core::sync::atomic::{AtomicBool, Ordering};

/// Milliseconds that a process waits for the collector at its end: it may be drawing the heap map, or be stopped.
const PATIENCE: u64 = 10_000;

#[derive(Clone, Copy)]
pub enum Event {
    /// A program begins.
    Start,
    /// A child was forked.
    Fork,
    Figures,
    /// The program ends with this status.
    End(i32),
}

/// Set once nobody listens any more.
static GONE: AtomicBool = AtomicBool::new(false);

/// Whether there is a collector, as far as is known.
pub fn listens() -> bool {
    // Relaxed: nothing else hangs on it.
    !conf::collector().is_empty() && !GONE.load(Ordering::Relaxed)
}

/// Tells the collector, if there is one.
#[inline(never)]
pub fn tell(event: Event) {
    if !listens() {
        return;
    }
    let insists = !matches!(event, Event::Figures);
    match Connection::open(conf::collector(), insists) {
        Ok(connection) => write(&connection, event),
        // Too busy to listen, or this process has no descriptor left: another time.
        Err(libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {}
        // Relaxed: as above.
        Err(_) => GONE.store(true, Ordering::Relaxed),
    }
}

fn write(connection: &Connection, event: Event) {
    let mut buffer = [0; BUFFER];
    let sink = |descriptor: usize, bytes: &[u8]| os::socket::send(descriptor as i32, bytes);
    let text = &mut Text::new(&mut buffer, sink, connection.descriptor() as usize);
    let (name, status) = match event {
        Event::Start => (&b"start"[..], None),
        Event::Fork => (&b"fork"[..], None),
        Event::Figures => (&b"figures"[..], None),
        Event::End(status) => (&b"end"[..], Some(status)),
    };
    let own = os::process_id();
    json::write_version(text);
    text.member(b"event").text("\"").bytes(name).text("\"");
    json::write_process(text, own);
    text.member(b"parent").number(os::parent_id() as usize);
    json::write_command(text, false);
    json::write_command(text, true);
    json::write_time(text);
    if let Some(status) = status {
        text.member(b"status").number(status as usize & 0xff);
    }
    if matches!(event, Event::Figures | Event::End(_)) {
        let counted = stats::collect().of_this_process();
        for (name, value) in [
            (&b"resident"[..], counted.whole.resident),
            (b"peak", os::most_resident_bytes()),
            (b"in_use", counted.whole.bytes_in_use),
            (b"free", counted.whole.bytes_free),
        ] {
            text.member(name).number(value);
        }
        text.text("}").end_line();
        counted.write_table(text);
    } else {
        text.text("}").end_line();
    }
    let failed = text.flush() != 0;
    // A child that was forked meanwhile has the connection open too.
    connection.finish();
    if status.is_some() && !failed && conf::COLLECTOR_WAIT.get() == own as usize {
        connection.wait_until_closed(PATIENCE);
    }
}
