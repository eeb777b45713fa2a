//! Error replies, sorted by what the caller must believe of the command they answer.

/// What a caller must now believe of a command that was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// Redis did not begin it: nothing was changed, and the same command may succeed later or elsewhere.
    Refused,
    /// Redis looked at it and it cannot succeed as it stands: nothing was changed, and repeating it is of no use.
    Failed,
    /// A script stopped on its way: what it did before is not undone. Only a look at the data tells.
    Unknown,
}

/// Error replies that callers tell apart, by the first word of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// `NOSCRIPT`: the script cache does not hold the digest; load it and ask again.
    NoScript,
    /// `LOADING`: the data set is being read from disk.
    Loading,
    /// `READONLY`: a replica; writes go elsewhere.
    ReadOnly,
    /// `OOM`: `maxmemory` is reached under `noeviction`.
    OutOfMemory,
    /// `MISCONF`: the last snapshot or append failed and writes are refused until one succeeds.
    Misconfigured,
    /// `BUSY`: another client's script has been running for too long.
    Busy,
    /// `MOVED`: the slot is another node's.
    Moved,
    /// `ASK`: the slot is on its way to another node.
    Ask,
    /// `CLUSTERDOWN`: the cluster does not serve the slot.
    ClusterDown,
    /// `TRYAGAIN`: keys of one command lie on both sides of a slot's move.
    TryAgain,
    /// `CROSSSLOT`: keys of one command lie in several slots; a mistake of ours.
    CrossSlot,
    /// `MASTERDOWN`: a replica that lost its master and does not serve stale data.
    MasterDown,
    /// `NOREPLICAS`: fewer good replicas than `min-replicas-to-write`.
    NoReplicas,
    /// `NOAUTH`, `WRONGPASS`, `NOPERM`: the connection may not do this; inside a script Redis says so in whole sentences.
    Denied,
    /// `WRONGTYPE`: a key holds another kind of value.
    WrongType,
    /// `UNKILLABLE`, `REDIRECT`, `ERR` and whatever later versions add.
    Other,
}

/// What Redis 7.0 and later versions say of a command *inside* a script that its user may not run.
const DENIED_INSIDE: [&[u8]; 2] = [b"ERR The user executing the script can't", b"ERR ACL failure in script"];

impl ErrorKind {
    /// How many there are.
    pub const COUNT: usize = ErrorKind::Other as usize + 1;

    /// All of them, each at its own place (`kind as usize`).
    pub const ALL: [ErrorKind; ErrorKind::COUNT] = [
        ErrorKind::NoScript,
        ErrorKind::Loading,
        ErrorKind::ReadOnly,
        ErrorKind::OutOfMemory,
        ErrorKind::Misconfigured,
        ErrorKind::Busy,
        ErrorKind::Moved,
        ErrorKind::Ask,
        ErrorKind::ClusterDown,
        ErrorKind::TryAgain,
        ErrorKind::CrossSlot,
        ErrorKind::MasterDown,
        ErrorKind::NoReplicas,
        ErrorKind::Denied,
        ErrorKind::WrongType,
        ErrorKind::Other,
    ];

    /// As metrics and logs name it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::NoScript => "no_script",
            ErrorKind::Loading => "loading",
            ErrorKind::ReadOnly => "read_only",
            ErrorKind::OutOfMemory => "out_of_memory",
            ErrorKind::Misconfigured => "misconfigured",
            ErrorKind::Busy => "busy",
            ErrorKind::Moved => "moved",
            ErrorKind::Ask => "ask",
            ErrorKind::ClusterDown => "cluster_down",
            ErrorKind::TryAgain => "try_again",
            ErrorKind::CrossSlot => "cross_slot",
            ErrorKind::MasterDown => "master_down",
            ErrorKind::NoReplicas => "no_replicas",
            ErrorKind::Denied => "denied",
            ErrorKind::WrongType => "wrong_type",
            ErrorKind::Other => "other",
        }
    }

    /// The kind that the first word of an error reply names.
    pub fn of(message: &[u8]) -> ErrorKind {
        if DENIED_INSIDE.iter().any(|said| message.starts_with(said)) {
            return ErrorKind::Denied;
        }
        let word = message.split(|byte| *byte == b' ').next().unwrap_or_default();
        match word {
            b"NOSCRIPT" => ErrorKind::NoScript,
            b"LOADING" => ErrorKind::Loading,
            b"READONLY" => ErrorKind::ReadOnly,
            b"OOM" => ErrorKind::OutOfMemory,
            b"MISCONF" => ErrorKind::Misconfigured,
            b"BUSY" => ErrorKind::Busy,
            b"MOVED" => ErrorKind::Moved,
            b"ASK" => ErrorKind::Ask,
            b"CLUSTERDOWN" => ErrorKind::ClusterDown,
            b"TRYAGAIN" => ErrorKind::TryAgain,
            b"CROSSSLOT" => ErrorKind::CrossSlot,
            b"MASTERDOWN" => ErrorKind::MasterDown,
            b"NOREPLICAS" => ErrorKind::NoReplicas,
            b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => ErrorKind::Denied,
            b"WRONGTYPE" => ErrorKind::WrongType,
            _ => ErrorKind::Other,
        }
    }
}

/// A server's words as a log may hold them: what is no printable ASCII is escaped (`\x07`), quotes and backslashes stand as
/// they came: the log's own format quotes them.
pub fn printable(words: &[u8]) -> String {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    words.iter().fold(String::with_capacity(words.len()), |mut text, byte| {
        if is_printable(byte) {
            text.push(char::from(*byte))
        } else {
            text.extend(byte.escape_ascii().map(char::from))
        }
        text
    })
}

/// One error reply: borrowed from the buffer it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerError<'a> {
    message: &'a [u8],
}

impl<'a> ServerError<'a> {
    pub(super) fn new(message: &'a [u8]) -> ServerError<'a> {
        ServerError { message }
    }

    /// The message as Redis wrote it, its first word the kind. From outside: [`printable`] before it is logged.
    pub fn message(self) -> &'a [u8] {
        self.message
    }

    /// Which error it is.
    pub fn kind(self) -> ErrorKind {
        ErrorKind::of(self.message)
    }

    /// What to believe of the command. Redis adds `script: …, on @user_script` to an error that a command *inside* a
    /// script met, and says `ERR Error running script` where Lua itself failed or was killed: then a write may
    /// have gone before. Everything else is said before a command or a `#!lua` script begins.
    pub fn belief(self) -> Belief {
        let inside = |mark: &[u8]| self.message.windows(mark.len()).any(|window| window == mark);
        if inside(b"@user_script") || inside(b"user_script:") || inside(b" script: ") || inside(b"rror running script")
        {
            return Belief::Unknown;
        }
        match self.kind() {
            ErrorKind::NoScript
            | ErrorKind::Loading
            | ErrorKind::ReadOnly
            | ErrorKind::OutOfMemory
            | ErrorKind::Misconfigured
            | ErrorKind::Busy
            | ErrorKind::Moved
            | ErrorKind::Ask
            | ErrorKind::ClusterDown
            | ErrorKind::TryAgain
            | ErrorKind::MasterDown
            | ErrorKind::NoReplicas
            | ErrorKind::Denied => Belief::Refused,
            ErrorKind::CrossSlot | ErrorKind::WrongType => Belief::Failed,
            ErrorKind::Other => Belief::Failed,
        }
    }
}

/// What an [`ErrorKind::Denied`] said, with the user (`None`: the default one) whom it was said to: of a permission that is missing
/// (`NOPERM`) Redis names them itself.
pub fn with_user(words: String, user: Option<&str>) -> String {
    if words.starts_with("NOPERM") { words } else { format!("{words} (user {})", user.unwrap_or("default")) }
}
