//! Webhooks: whoever wants to know that a job has ended is told by an HTTP request.
//!
//! What is to be told lies in the queue's outbox, where it was written in the commit in which the job ended. A deliverer
//! takes it out, sends it, and writes down what came of that; what it does not come to is told after the next start.

mod deliverer;
mod hook;
mod reach;
mod sender;
mod signature;

pub(crate) use deliverer::Deliverer;
pub(crate) use hook::{Delivery, Hook, Hooks, JOB_HOOKS, NewHook, Outcome, event_id, event_of};
pub(crate) use reach::{Reach, origin};
pub(crate) use sender::innermost;
pub(crate) use signature::SigningSecret;
