//! CPU time and memory of a process and of all below it, as `/proc` tells them.
//!
//! Never samples: two readings and their difference are exact but for the clock tick (10 ms) in which they fall.

use flux_lab::error::{Doing, LabError};
use flux_lab::process::descendants;

/// Microseconds of CPU that `pid`, all processes below it, and those below it that have ended (and were waited for) have
/// used, user and system.
///
/// # Errors
/// Where the process is gone, or its children end faster than they can be counted.
pub fn cpu_us(pid: u32) -> Result<u64, LabError> {
    /// A child that ends between two readings would be missed, or counted twice, so they are taken again.
    const ATTEMPTS_MAX: u32 = 100;
    for _ in 0..ATTEMPTS_MAX {
        let before = read_ticks(pid)?;
        let below: u64 = descendants(pid).into_iter().map(|below| read_ticks(below).map_or(0, Ticks::sum)).sum();
        let after = read_ticks(pid)?;
        if before.reaped == after.reaped {
            return Ok((after.sum() + below) * 1_000_000 / ticks_by_second());
        }
    }
    Err(LabError::failed(format!("the children of process {pid} do not stand still")))
}

/// Microseconds of CPU that children of this process have used that have ended and were waited for.
///
/// # Errors
/// Where `/proc` is not there.
pub fn reaped_us() -> Result<u64, LabError> {
    Ok(read_ticks(std::process::id())?.reaped * 1_000_000 / ticks_by_second())
}

/// CPU of one process in clock ticks, user and system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    /// Its own.
    own: u64,
    /// Of children that have ended and were waited for.
    reaped: u64,
}

impl Ticks {
    fn sum(self) -> u64 {
        self.own + self.reaped
    }
}

/// Resident memory of `pid` and of all processes below it, in KiB. Pages that they share count with each.
///
/// # Errors
/// Where the process is gone.
pub fn resident_kib(pid: u32) -> Result<u64, LabError> {
    let mut kib = read_resident(pid)?;
    for below in descendants(pid) {
        kib += read_resident(below).unwrap_or(0);
    }
    Ok(kib)
}

/// Open descriptors of `pid` and of all processes below it.
///
/// # Errors
/// Where the process is gone.
pub fn descriptors(pid: u32) -> Result<usize, LabError> {
    let count = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
    let own = count(pid).doing(|| format!("counting the descriptors of process {pid}"))?;
    Ok(own + descendants(pid).into_iter().map(|below| count(below).unwrap_or(0)).sum::<usize>())
}

fn read_ticks(pid: u32) -> Result<Ticks, LabError> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).doing(|| format!("reading {path}"))?;
    parse_ticks(&text).ok_or_else(|| LabError::failed(format!("{path} is not as proc_pid_stat(5) says: {text}")))
}

fn read_resident(pid: u32) -> Result<u64, LabError> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).doing(|| format!("reading {path}"))?;
    parse_resident(&text).ok_or_else(|| LabError::failed(format!("{path} names no VmRSS")))
}

/// Fields 14 to 17 of proc_pid_stat(5): user and system time, its own and that of children waited for.
fn parse_ticks(stat: &str) -> Option<Ticks> {
    // The name in parentheses may hold anything, so the fields are counted from its end; the first after it is the third.
    let fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let mut times = fields.skip(11).map(str::parse::<u64>);
    let mut next = || times.next()?.ok();
    Some(Ticks { own: next()? + next()?, reaped: next()? + next()? })
}

fn parse_resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn ticks_by_second() -> u64 {
    // SAFETY: a call that takes a number and gives one.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).expect("Linux has clock ticks")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194560 2718 0 3 0 1250 730 20 5 20 0 3 0 100 1 2 3";

    #[test]
    fn times_are_found_behind_any_name() {
        assert_eq!(parse_ticks(STAT), Some(Ticks { own: 1250 + 730, reaped: 20 + 5 }));
        for cut in 0..STAT.find(" 20 5 ").unwrap() + 3 {
            assert_eq!(parse_ticks(&STAT[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn resident_memory_is_in_kib() {
        assert_eq!(parse_resident("Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t   812 kB\n"), Some(812));
        assert_eq!(parse_resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn an_open_file_is_a_descriptor_more() {
        // Other tests open and close files meanwhile: enough of them that it shows.
        const FILES: usize = 500;
        let before = descriptors(std::process::id()).unwrap();
        let files: Vec<_> = (0..FILES).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(descriptors(std::process::id()).unwrap() > before + FILES / 2);
        drop(files);
    }

    #[test]
    fn a_process_that_works_has_used_what_it_used() {
        let me = std::process::id();
        let before = cpu_us(me).unwrap();
        let mut sum = 0u64;
        // As long as it takes until two ticks are counted.
        while cpu_us(me).unwrap() < before + 20_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(resident_kib(me).unwrap() > 100);
        assert!(cpu_us(u32::MAX).is_err());
    }
}
