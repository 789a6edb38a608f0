//! What a kind of failure means for the job.

/// The machine had too little memory for the work.
pub(crate) const HOST_OOM: &str = "host_oom";
/// Somebody killed what did the work.
pub(crate) const KILLED: &str = "killed";

/// What becomes of a job that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Every run would fail alike: the job fails for good.
    Permanent,
    /// It runs again after a while, as often as it may fail.
    Retry,
    /// What did the work was killed: a loss, which is counted apart, and after which smaller steps are due.
    Loss,
    /// Nothing is wrong with the job but with this machine: it is given back for free, and the worker claims nothing until
    /// the machine is well.
    HostTrouble,
}

/// The kinds that say more than that something went wrong.
pub(crate) const KINDS: &[(&str, Policy)] = &[
    ("bad_input", Policy::Permanent),
    ("encrypted", Policy::Permanent),
    ("source_corrupt", Policy::Permanent),
    ("invalid_params", Policy::Permanent),
    (HOST_OOM, Policy::Loss),
    (KILLED, Policy::Loss),
    ("gpu_oom", Policy::Loss),
    ("host_trouble", Policy::HostTrouble),
    ("disk_full", Policy::HostTrouble),
];

/// What a failure of this kind means, if nobody says otherwise.
pub(crate) fn policy(kind: &str) -> Policy {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(Policy::Retry, |(_, policy)| *policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_nobody_knows_is_tried_again() {
        assert_eq!(policy("paper_jam"), Policy::Retry);
        assert_eq!(policy("encrypted"), Policy::Permanent);
        assert_eq!(policy("killed"), Policy::Loss);
    }
}
