//! A TLS handshake over a socket, as client or server, and what keeps it from its end.

use std::io;
use std::os::fd::AsRawFd;

use rustls::{Connection, Error, ProtocolVersion};

use super::reader::take;
use crate::buffer::Window;
use crate::socket::{Socket, try_write};

/// What keeps a handshake from its end.
pub(super) enum Trouble {
    Tls(Error),
    Io(io::Error),
    Closed,
    /// The first byte is a letter, which no handshake begins with.
    PlainHttp,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

pub(super) async fn shake_hands(
    socket: &mut Socket,
    connection: &mut Connection,
    incoming: &mut Window,
) -> Result<(), Trouble> {
    let mut is_first = matches!(connection, Connection::Server(_));
    loop {
        let is_done = !connection.is_handshaking();
        // What a server of TLS 1.3 has to say after the handshake, its tickets, leaves with its first answer.
        let waits = is_done
            && matches!(connection, Connection::Server(_))
            && connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let mut out = Vec::new();
        while connection.wants_write() && !waits {
            connection.write_tls(&mut out)?;
        }
        if !out.is_empty() {
            socket.write_all(out).await.0?;
        }
        if is_done {
            return Ok(());
        }
        if incoming.is_empty() {
            let (read, filled) = socket.read(std::mem::take(incoming)).await;
            *incoming = filled;
            match read {
                Ok(0) => return Err(Trouble::Closed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => drop(read?),
            }
            if std::mem::replace(&mut is_first, false) && incoming.unread()[0].is_ascii_uppercase() {
                return Err(Trouble::PlainHttp);
            }
        }
        if let Err(error) = take(connection, incoming) {
            // The alert: whether it is heard does not matter.
            let mut alert = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut alert)?;
            }
            let _ = try_write(socket.as_raw_fd(), &alert);
            return Err(Trouble::Tls(error));
        }
    }
}
