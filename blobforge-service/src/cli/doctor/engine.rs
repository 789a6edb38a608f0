//! The engine of workers that needs more than this program.

use blobforge_worker_sdk::marker::{DOWNLOAD_BYTES, Environment, INSTALLED_BYTES, MARKER_VERSION, Settings};

use super::Finding;
use crate::cli::{free_bytes, terminal::size};

const CHECK: &str = "Everything else is looked at by: blobforge worker --engine marker --check";

/// Whether a worker with these settings could convert PDFs with marker-pdf here.
pub(super) async fn look(settings: &Settings) -> Finding {
    match Environment::find(settings).await {
        Ok(Some(found)) => {
            let found = format!("{MARKER_VERSION} is installed at {}. {CHECK}", found.python.display());
            Finding::ok("marker-pdf", found)
        }
        Ok(None) => to_be_made(free_bytes(&Environment::place(settings))),
        Err(error) => Finding::fail("marker-pdf", error.to_string(), CHECK),
    }
}

fn to_be_made(free: Option<u64>) -> Finding {
    let needed = DOWNLOAD_BYTES + INSTALLED_BYTES;
    let found = format!("not installed: a worker with --engine marker does that, and needs {}", size(needed));
    match free {
        Some(free) if free < needed => {
            let found = format!("{found}, of which {} are free", size(free));
            Finding::warn("marker-pdf", found, "Make room if you want it")
        }
        _ => Finding::ok("marker-pdf", found),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn what_is_not_installed_is_no_fault_but_for_want_of_room() {
        assert_eq!(to_be_made(Some(u64::MAX)).state, State::Ok);
        let little = to_be_made(Some(1_000_000));
        assert!(little.state == State::Warn && little.found.contains("1.00 MB are free"), "{}", little.found);
    }
}
