//! Memory of connections that rest: each is opened, asks once, and is silent while the memory is read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::figures::IdleRow;
use super::measure::Ready;
use super::usage;
use flux_lab::error::{Doing, LabError};
use flux_lab::http_client;

/// Connections.
pub const CONNECTIONS: u32 = 10_000;
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Opens them, and reads the memory twice.
///
/// # Errors
/// Where a connection cannot be opened or is not answered.
pub fn measure(ready: &Ready<'_>, row: IdleRow) -> Result<IdleRow, LabError> {
    let pid = ready.server().pid()?;
    let before_kib = usage::resident_kib(pid)?;
    let target = ready.server().public();
    let mut streams = Vec::with_capacity(CONNECTIONS as usize);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(target).doing(|| format!("connection {} to {target}", streams.len()))?;
        stream.set_read_timeout(Some(ANSWER_MAX)).doing(|| "setting a timeout".to_owned())?;
        ask(&mut stream, target).doing(|| format!("asking on connection {}", streams.len()))?;
        streams.push(stream);
    }
    let resident_kib = usage::resident_kib(pid)?;
    // One that was closed meanwhile would not have been measured.
    let kept = streams.iter_mut().filter_map(|stream| ask(stream, target).ok()).count() as u32;
    Ok(IdleRow { connections: CONNECTIONS, kept, before_kib, resident_kib, ..row })
}

fn ask(stream: &mut TcpStream, target: SocketAddr) -> std::io::Result<()> {
    stream.write_all(format!("GET /stock/bench HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes())?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
        match http_client::parse(&bytes) {
            Some(answer) if answer.status == 200 => return Ok(()),
            Some(answer) => return Err(std::io::Error::other(format!("status {}", answer.status))),
            None => {}
        }
    }
}
