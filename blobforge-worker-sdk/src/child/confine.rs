//! Limits that a child sets for itself.

use std::io;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

/// Address space beyond the memory limit: reserved stacks, arenas and mapped code, most of which is never touched.
const ADDRESS_HEADROOM_BYTES: u64 = 1 << 30;

/// Confines the calling process; a child calls this first, before it reads anything.
///
/// Allocations beyond `memory_bytes` and a headroom of 1 GiB fail, which ends most programs at once, where the
/// supervisor's samples would come too late. No file may grow past `output_bytes`. There are no core dumps, since a
/// core holds the document. And when the supervisor dies, so does this process.
///
/// # Errors
///
/// Fails if the system refuses a limit, for instance because a lower one is already in force.
pub fn confine_self(memory_bytes: u64, output_bytes: u64) -> io::Result<()> {
    let limit = |bytes: u64| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Fsize, limit(output_bytes))?;
    setrlimit(Resource::As, limit(memory_bytes.saturating_add(ADDRESS_HEADROOM_BYTES)))?;
    Ok(())
}
