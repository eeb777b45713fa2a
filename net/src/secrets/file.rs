//! A file that holds one secret.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flux_protocol::secret::Secret;

/// Longest secret, bytes. Tokens with many claims have some thousands.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It is missing, or we may not read it.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Nothing but an end of a line is in it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// It is no text, or holds a NUL or another line.
    #[error("{} is not one line of text", .0.display())]
    NoText(PathBuf),
    /// [`SECRET_BYTES_MAX`].
    #[error("{} is longer than {SECRET_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    /// Group or others may read it, and whoever reads such files elsewhere refuses it then.
    #[error("{} may be read by group or others, so it is not used: chmod 0600 it", .0.display())]
    TooOpen(PathBuf),
}

/// What a file held.
#[derive(Debug)]
pub struct SecretFile {
    /// Without the end of its line.
    pub secret: Secret,
    /// Everybody may read the file.
    pub is_open_to_others: bool,
}

/// Reads a file that holds one secret, and nothing else but the end of its line.
///
/// # Errors
/// [`SecretFileError`].
pub fn read(path: &Path) -> Result<SecretFile, SecretFileError> {
    let (text, metadata) = text_of(path)?;
    let secret = one_line(&text).map_err(|wrong| wrong.of(path))?;
    Ok(SecretFile { secret, is_open_to_others: is_open_to_others(&metadata) })
}

/// Reads a file as libpq reads its password file: only where nobody but its owner may.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_private(path: &Path) -> Result<String, SecretFileError> {
    let (text, metadata) = text_of(path)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(SecretFileError::TooOpen(path.to_owned()));
    }
    String::from_utf8(text).map_err(|_| SecretFileError::NoText(path.to_owned()))
}

/// Whether every user of the machine may read a file.
pub fn is_open_to_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o004 != 0
}

fn text_of(path: &Path) -> Result<(Vec<u8>, Metadata), SecretFileError> {
    let failed = |error| SecretFileError::Read { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut text = Vec::new();
    file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() > SECRET_BYTES_MAX { Err(SecretFileError::TooLong(path.to_owned())) } else { Ok((text, metadata)) }
}

/// What is wrong with a secret's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Empty,
    NoText,
}

impl Wrong {
    fn of(self, path: &Path) -> SecretFileError {
        match self {
            Wrong::Empty => SecretFileError::Empty(path.to_owned()),
            Wrong::NoText => SecretFileError::NoText(path.to_owned()),
        }
    }
}

/// One line of text, with or without its end.
pub(super) fn one_line(text: &[u8]) -> Result<Secret, Wrong> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err(Wrong::Empty);
    }
    if text.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r')) {
        return Err(Wrong::NoText);
    }
    std::str::from_utf8(text).map(Secret::new).map_err(|_| Wrong::NoText)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn the_end_of_the_line_is_no_part_of_the_secret_and_blanks_are() {
        for (text, secret) in
            [(&b"hunter2"[..], "hunter2"), (b"hunter2\n", "hunter2"), (b"hunter2\r\n", "hunter2"), (b" h \n", " h ")]
        {
            assert_eq!(one_line(text).map(|secret| secret.expose().to_owned()), Ok(secret.to_owned()));
        }
        assert_eq!(one_line(b"").map(drop), Err(Wrong::Empty));
        assert_eq!(one_line(b"\n").map(drop), Err(Wrong::Empty));
        for text in [&b"two\nlines"[..], b"two\n\n", b"a\0b", b"\xff"] {
            assert_eq!(one_line(text).map(drop), Err(Wrong::NoText), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_and_its_content_is_not() {
        let folder = std::env::temp_dir().join(format!("flux-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let at = |name: &str, text: &[u8], mode: u32| {
            let path = folder.join(name);
            write(&path, text).expect("a file");
            set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
            path
        };
        let good = read(&at("good", b"hunter2\n", 0o640)).expect("group may read it");
        assert_eq!((good.secret.expose(), good.is_open_to_others), ("hunter2", false));
        assert!(read(&at("open", b"hunter2\n", 0o644)).expect("it is read").is_open_to_others);
        for (path, words) in [
            (folder.join("missing"), "cannot read"),
            (at("empty", b"\n", 0o600), "is empty"),
            (at("lines", b"hunter2\nhunter3\n", 0o600), "not one line"),
            (at("long", &[b'x'; SECRET_BYTES_MAX + 1], 0o600), "is longer"),
        ] {
            let line = read(&path).expect_err("it is wrong").to_string();
            assert!(line.contains(words) && !line.contains("hunter") && !line.contains('\n'), "{line}");
        }
        assert_eq!(read_private(&at("private", b"a\nb\n", 0o600)).expect("it is ours alone"), "a\nb\n");
        for mode in [0o640, 0o604] {
            let refused = read_private(&at("group", b"hunter2", mode)).expect_err("others may read it");
            assert!(refused.to_string().contains("0600"), "{refused}");
        }
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
