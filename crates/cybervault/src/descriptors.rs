//! File descriptors: how many this process may have, and how many of them its ports may take.
//!
//! Connections are the only descriptors that a stranger can open. The store, Kafka and files need the rest.

use std::fs;

/// Connections to the metrics port at the same time.
pub(crate) const METRICS_CONNECTIONS: usize = 32;
/// Of one address.
pub(crate) const METRICS_CONNECTIONS_OF_ONE: usize = 16;
/// Connections to the API and the console at most, however many descriptors there are.
const CONNECTIONS: usize = 8_192;
/// What everything else needs: store, Kafka, files, and the metrics port.
const OTHERS: usize = 128;
/// Where the kernel does not say: what most systems give.
const USUAL: usize = 1_024;

/// Connections to the API and the console at the same time.
pub(crate) fn for_connections() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    share(soft_limit(&limits).unwrap_or(USUAL))
}

/// All but what others need, and at least a quarter.
fn share(descriptors: usize) -> usize {
    descriptors.saturating_sub(OTHERS).max(descriptors / 4).clamp(1, CONNECTIONS)
}

/// The soft limit in /proc/self/limits; the kernel writes `unlimited` where there is none.
fn soft_limit(limits: &str) -> Option<usize> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            256                  524288               files     \n";
        assert_eq!(soft_limit(limits), Some(256));
        assert_eq!(soft_limit("Max open files            unlimited unlimited files"), Some(usize::MAX));
        for (descriptors, connections) in [(256, 128), (64, 16), (1_024, 896), (usize::MAX, CONNECTIONS), (1, 1)] {
            assert_eq!(share(descriptors), connections);
        }
        assert!(for_connections() >= 1);
    }
}
