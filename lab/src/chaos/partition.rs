//! Packets that vanish: rules of nftables in a network namespace of our own, where the machine allows one.
//!
//! Never touches the rules of the machine's own namespace.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Doing, LabError};
use crate::proxy::Proxy;

static ISOLATED: AtomicBool = AtomicBool::new(false);

/// Moves this process into a network namespace of its own, with loopback and nothing else; the servers and programs that
/// it starts are in it too. Must be called before any thread is started.
///
/// # Errors
/// Where the machine does not allow it or nftables is missing; what needs no namespace works nevertheless.
pub fn isolate() -> Result<(), LabError> {
    // SAFETY: a system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error()).doing(|| "making a network namespace".to_owned());
    }
    run("ip", &["link", "set", "lo", "up"])?;
    run("nft", &["add", "table", "inet", "flux_lab"])?;
    run("nft", &["add", "chain", "inet", "flux_lab", "out", "{ type filter hook output priority 0; }"])?;
    ISOLATED.store(true, Ordering::Relaxed);
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> Result<(), LabError> {
    let ran = Command::new(program).args(arguments).output().doing(|| format!("starting {program}"))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    Err(LabError::failed(format!("{program} {}: {said}", arguments.join(" "))))
}

/// No packet passes to or from some proxies while this stands.
pub(super) struct Partition(());

impl Partition {
    /// A partition, or `None` where this process is in no namespace of its own.
    pub(super) fn before(proxies: &[&Proxy]) -> Result<Option<Partition>, LabError> {
        if !ISOLATED.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let partition = Partition(());
        for proxy in proxies {
            let port = proxy.address().port().to_string();
            for end in ["dport", "sport"] {
                run("nft", &["add", "rule", "inet", "flux_lab", "out", "tcp", end, &port, "drop"])?;
            }
        }
        Ok(Some(partition))
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        if let Err(error) = run("nft", &["flush", "chain", "inet", "flux_lab", "out"]) {
            eprintln!("the partition could not be healed: {error}");
        }
    }
}
