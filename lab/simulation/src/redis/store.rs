//! Everything a command can see or change; a script has it to itself while it runs.

use super::command::{Command, Flags, Run};
use super::identity::Identity;
use super::journal::Write;
use super::keyspace::{Keyspace, Text};
use super::limits::Limits;
use super::reply::{Failure, Reply};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) data: Keyspace,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    /// What the command under way has written so far.
    pub(super) written: Vec<Write>,
    /// What was asked and is not known here, in the words of the error.
    pub(super) unknown: Vec<String>,
}

impl Store {
    /// Carries out a command over data or server; one of the session is never handed in.
    pub(super) fn run(&mut self, command: &Command, arguments: Vec<Text>) -> Reply {
        let outcome = match command.run {
            Run::Data(run) if command.flags.has(Flags::WRITE) => {
                let outcome = run(&mut self.data, &arguments);
                self.written.push(Write { run, arguments });
                outcome
            }
            Run::Data(run) => run(&mut self.data, &arguments),
            Run::Server(run) => run(self, &arguments),
            Run::Session(session) => unreachable!("{session:?} is the session's to carry out"),
        };
        outcome.unwrap_or_else(|failure| {
            if let Failure::Beyond(what) = &failure {
                self.unknown.push(what.clone());
            }
            Reply::from(failure)
        })
    }
}
