//! Where secrets come from: files, and for tokens the output of a command; and who keeps them fresh while a program runs.
//!
//! - [`file`]: reads one, and says what is wrong with it without repeating it;
//! - [`command`]: runs one, with bounds;
//! - [`token`]: how long a token lives;
//! - [`kafka_login`]: who we are to Kafka's brokers, out of the flags that both programs have;
//! - [`keeper`]: the thread that reads files anew when told to, fetches tokens before they end, and stretches passwords.
//!
//! Never logs a secret, and has no word for one but [`flux_protocol::secret::Secret`].

pub mod command;
pub mod file;
pub mod kafka_login;
pub mod keeper;
pub mod token;

use std::path::{Path, PathBuf};

use flux_protocol::secret::{Secret, SharedSecret};

use self::file::SecretFileError;

/// A secret of a running program, and where a new one is to be had.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The flag that named its source, for the log.
    pub flag: &'static str,
    /// Where from.
    pub source: Source,
    /// It ends by itself: a new one is fetched before that.
    pub is_token: bool,
    /// Where those who use it look.
    pub secret: SharedSecret,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The content of a file.
    File(PathBuf),
    /// What a command writes on its standard output, run by `/bin/sh`.
    Command(String),
}

/// The secrets of a configuration that come from elsewhere, and what is to be said about it at start.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// To be kept fresh.
    pub kept: Vec<Kept>,
    /// One line each, to be logged once.
    pub warnings: Vec<String>,
    /// Which flags that may hold a secret stood on the command line, by the names that clap knows them by.
    exposed: Vec<&'static str>,
}

impl Secrets {
    /// Of a configuration whose command line has told the values of `exposed`.
    pub fn new(exposed: Vec<&'static str>) -> Secrets {
        Secrets { exposed, ..Secrets::default() }
    }

    /// The secret that `path`, given by `flag`, holds.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn file(&mut self, flag: &'static str, path: PathBuf) -> Result<SharedSecret, String> {
        let secret = SharedSecret::new(self.fixed(flag, &path)?);
        let kept = Kept { flag, source: Source::File(path), is_token: false, secret: secret.clone() };
        self.kept.push(kept);
        Ok(secret)
    }

    /// The same of a secret that stays as it is for as long as the program runs.
    ///
    /// # Errors
    /// One line that names the flag.
    pub fn fixed(&mut self, flag: &str, path: &Path) -> Result<Secret, String> {
        let read = file::read(path).map_err(|error: SecretFileError| format!("{flag}: {error}"))?;
        if read.is_open_to_others {
            let path = path.display();
            self.warnings.push(format!("{flag}: every user of this machine may read {path}: chmod o-rwx it"));
        }
        Ok(read.secret)
    }

    /// The secret that `flag` holds is used. Where it stood on the command line, every user of the machine may read it: then there is
    /// a warning that names the `variables` for it. `name` is what clap calls the flag.
    pub fn note_used(&mut self, name: &str, flag: &str, variables: &str) {
        if !self.exposed.contains(&name) {
            return;
        }
        self.warnings.push(format!(
            "the secret in {flag} stands in the list of processes, which every user of this machine may read: use {variables}"
        ));
    }
}

/// A secret out of a variable or a flag; an empty one counts as unset, as compose files pass those.
pub fn given(text: Option<String>) -> Option<Secret> {
    text.filter(|text| !text.is_empty()).map(|text| Secret::new(&text))
}
