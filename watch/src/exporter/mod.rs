//! The exporter: serves the figures of processes for Prometheus, read from outside when they are asked for.
//!
//! - `watched`: which processes, and what is known of each;
//! - `families`: what is told of them, as OpenMetrics.
//!
//! What must hold: one request is answered at a time, and what a request costs is bounded by what `watched` says. Nothing of a request is believed but its path.

mod families;
mod watched;

use std::io;
use std::net::SocketAddr;
use tiny_http::{Header, Method, Request, Response, Server};
use watched::Watched;

/// OpenMetrics, as text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const PATH: &str = "/metrics";

/// Serves until it is ended. The error is a line.
pub fn serve(pids: &[i32], address: SocketAddr) -> Result<(), String> {
    let mut watched = Watched::of(pids)?;
    let server = Server::http(address).map_err(|error| format!("{address}: {error}"))?;
    if let Some(address) = server.server_addr().to_ip() {
        eprintln!("pymalloc-watch: serving http://{address}{PATH}");
    }
    loop {
        let request = server.recv().map_err(|error| error.to_string())?;
        // A client that has gone is no failure.
        let _: io::Result<()> = answer(request, &mut watched);
    }
}

fn answer(request: Request, watched: &mut Watched) -> io::Result<()> {
    let (path, _) = request.url().split_once('?').unwrap_or((request.url(), ""));
    let (status, kind, text) = match (request.method(), path) {
        (Method::Get | Method::Head, PATH) => match families::text(watched.look()) {
            Ok(text) => (200, OPEN_METRICS, text),
            Err(error) => (500, PLAIN, format!("{error}\n")),
        },
        (Method::Get | Method::Head, "/") => (200, PLAIN, format!("pymalloc: see {PATH}\n")),
        (Method::Get | Method::Head, _) => (404, PLAIN, format!("see {PATH}\n")),
        _ => (405, PLAIN, "only GET\n".into()),
    };
    let mut response = Response::from_string(text).with_status_code(status);
    if let Ok(header) = Header::from_bytes("Content-Type", kind) {
        response = response.with_header(header);
    }
    request.respond(response)
}
