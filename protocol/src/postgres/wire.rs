//! One message out of the bytes that have arrived, with a cap on what a length may claim.
//!
//! Never waits for a message that it would refuse: an absurd length or an unknown type is an error at its header.

use bytes::BytesMut;
use postgres_protocol::message::backend::{self, Header, Message};

/// Longest message taken from a server that has let us in, in bytes with its type: a row of the ledger holds at most
/// one Kafka record (1 MiB by default, and an operator may have raised that), the rest is far smaller.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The same before that: any server may answer.
pub(super) const LOGIN_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Bytes that are not the protocol. Close the connection: its framing cannot be trusted any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length that no server of ours would send.
    #[error("a message of {0} bytes")]
    Length(i64),
    /// A message type that is not of protocol 3.0, or not for us.
    #[error("message type {0:#04x}")]
    Type(u8),
    /// A message whose inside contradicts its length or its type; names it.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// Takes the next whole message from the front of `bytes`; `None` where more must arrive first.
///
/// # Errors
/// [`WireError`]; what is left in `bytes` is then meaningless.
pub(super) fn next_message(bytes: &mut BytesMut, length_max: usize) -> Result<Option<Message>, WireError> {
    if let Some(tag) = bytes.first()
        && !is_known(*tag)
    {
        return Err(WireError::Type(*tag));
    }
    let header = match Header::parse(bytes) {
        Ok(Some(header)) => header,
        Ok(None) => return Ok(None),
        Err(_) => {
            return Err(WireError::Length(i64::from(i32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]))));
        }
    };
    // Its own four bytes are in the length, its type is not.
    if header.len() as usize + 1 > length_max {
        return Err(WireError::Length(i64::from(header.len())));
    }
    let tag = header.tag();
    Message::parse(bytes).map_err(|_| WireError::Malformed(name(tag)))
}

/// The message types we expect of a server: COPY to us is never asked for, and protocol versions are never negotiated
/// because 3.0 is what we ask for.
fn is_known(tag: u8) -> bool {
    !matches!(name(tag), "message")
}

fn name(tag: u8) -> &'static str {
    match tag {
        backend::AUTHENTICATION_TAG => "Authentication",
        backend::BACKEND_KEY_DATA_TAG => "BackendKeyData",
        backend::BIND_COMPLETE_TAG => "BindComplete",
        backend::COMMAND_COMPLETE_TAG => "CommandComplete",
        backend::COPY_IN_RESPONSE_TAG => "CopyInResponse",
        backend::DATA_ROW_TAG => "DataRow",
        backend::EMPTY_QUERY_RESPONSE_TAG => "EmptyQueryResponse",
        backend::ERROR_RESPONSE_TAG => "ErrorResponse",
        backend::NO_DATA_TAG => "NoData",
        backend::NOTICE_RESPONSE_TAG => "NoticeResponse",
        backend::NOTIFICATION_RESPONSE_TAG => "NotificationResponse",
        backend::PARAMETER_STATUS_TAG => "ParameterStatus",
        backend::PARSE_COMPLETE_TAG => "ParseComplete",
        backend::READY_FOR_QUERY_TAG => "ReadyForQuery",
        backend::ROW_DESCRIPTION_TAG => "RowDescription",
        _ => "message",
    }
}
