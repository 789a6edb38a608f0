//! Workers and services of different versions.

use std::cmp::Ordering;

/// The version of this crate, and of every worker that is built with it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is to be said of a worker whose version is not that of its service, such as `0.1.0, older than the service (0.2.0)`.
///
/// ```
/// use blobforge_worker_sdk::version_difference;
/// assert_eq!(version_difference("0.9.0", "0.10.0").unwrap(), "0.9.0, older than the service (0.10.0)");
/// assert_eq!(version_difference("1.0.0", "0.10.0").unwrap(), "1.0.0, newer than the service (0.10.0)");
/// assert_eq!(version_difference("1.0.0-rc.1", "1.0.0").unwrap(), "1.0.0-rc.1, unlike the service (1.0.0)");
/// assert_eq!(version_difference("1.0.0", "1.0.0"), None);
/// ```
pub fn version_difference(worker: &str, service: &str) -> Option<String> {
    if worker == service {
        return None;
    }
    let how = match numbers(worker).zip(numbers(service)).map(|(worker, service)| worker.cmp(&service)) {
        Some(Ordering::Less) => "older than",
        Some(Ordering::Greater) => "newer than",
        _ => "unlike",
    };
    Some(format!("{worker}, {how} the service ({service})"))
}

/// The three numbers of a version that has no more to it.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}
