//! What the process itself costs, as the kernel says. Elsewhere than on Linux there is nothing to read.

use std::fs;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

/// In what /proc counts processor time: USER_HZ, 100 a second in Linux's interface whatever the kernel's own clock.
const TICKS_PER_SECOND: u64 = 100;

pub(super) fn describe() {
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory in use");
    describe_counter!("process_cpu_seconds_total", Unit::Seconds, "Processor time used");
    describe_gauge!("process_open_fds", "Open files");
    describe_gauge!("process_threads", "Threads");
}

/// Brings the process's metrics up to date.
pub(super) fn measure() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kib) = field(&status, "VmRSS:") {
        set("process_resident_memory_bytes", kib * 1024);
    }
    if let Some(threads) = field(&status, "Threads:") {
        set("process_threads", threads);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        set("process_open_fds", files.count() as u64);
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(ticks) = cpu_ticks(&stat) {
        counter!("process_cpu_seconds_total").absolute(ticks / TICKS_PER_SECOND);
    }
}

#[expect(clippy::cast_precision_loss)]
fn set(name: &'static str, value: u64) {
    gauge!(name).set(value as f64);
}

/// A line's number in /proc/self/status.
fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// User's and system's time in /proc/self/stat: the 14th and 15th field. The 2nd is the name, which may have spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_they_are_written() {
        assert_eq!(field("Name:\tx\nVmRSS:\t   2048 kB\n", "VmRSS:"), Some(2048));
        assert_eq!(cpu_ticks("7 (a b) c) S 1 1 1 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1"), Some(300));
    }
}
