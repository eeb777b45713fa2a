//! How the program ends that was told something it cannot do.

use std::process::ExitCode;

use flux_net::logging;

/// Exit code of a mistake in the configuration.
const EXIT_MISTAKE: u8 = 2;

/// One line on standard error, and the exit code.
pub(super) fn mistake(line: &str) -> ExitCode {
    logging::complain(format_args!("flux-edge: {line}"));
    ExitCode::from(EXIT_MISTAKE)
}
