//! Programs of any language as handlers.
//!
//! A [`Command`] is started anew for each job: `pandoc {source} -o {outdir}/book.html` is a whole worker. A [`Runner`]
//! stays, takes one job after the other, and is told them by the protocol of docs/runner-protocol.md: the way for what
//! takes long to get ready, such as models. Both run as a [`Program`] says: supervised, within limits, and without the
//! credentials of the worker.

mod command;
mod environment;
mod job_files;
mod pool;
mod runner;
mod settings;
mod warm;

pub use command::Command;
pub use runner::{PROTOCOL, PYTHON_HELPER, Runner};
pub use settings::{Limits, Program, Recycling};
#[cfg(feature = "marker")]
pub(crate) use {
    environment::{find, inherited},
    job_files::{JobFiles, send_outputs},
    pool::Pool,
};
