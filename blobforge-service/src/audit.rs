//! Who did what only administrators may do, and who logged in. What happens to jobs is not in here: it has its history.

use std::{fmt::Display, net::IpAddr};

use blobforge_core::{
    Queue, QueueError, Timestamp,
    storage::{Command, Done, MAX_PAGE, RecordChange},
};
use serde::{Deserialize, Serialize};

/// The log that they are kept in.
const LOG: &str = "audit";
/// How many are kept: the last ones.
const KEPT: u64 = 10_000;
/// Longer names of what was acted on are cut, in characters.
const MAX_TARGET: usize = 300;

/// Who acts.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// The account's id.
    pub(crate) id: String,
    /// What it is called.
    pub(crate) name: String,
    /// From where.
    pub(crate) address: Option<IpAddr>,
}

/// One action, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) account_id: String,
    pub(crate) account: String,
    pub(crate) action: String,
    pub(crate) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
}

impl Actor {
    /// Whoever has a shell on the machine of the service.
    pub(crate) fn on_the_machine() -> Self {
        Self { id: "machine".to_owned(), name: "command line on the machine".to_owned(), address: None }
    }

    /// The entry that says so, to be written in the same commit as the action.
    pub(crate) fn did(&self, action: &str, target: impl Display, at: Timestamp) -> RecordChange {
        let entry = Entry {
            at,
            account_id: self.id.clone(),
            account: self.name.clone(),
            action: action.to_owned(),
            target: target.to_string().chars().take(MAX_TARGET).collect(),
            address: self.address,
        };
        // An entry is text alone, which can always be written as JSON.
        let entry = serde_json::to_value(entry).unwrap_or_default();
        RecordChange::Append { log: LOG.to_owned(), entry, keep: KEPT }
    }

    /// Carries out an action of an administrator's and records it, both or neither.
    ///
    /// # Errors
    /// As [`Queue::run`].
    pub(crate) async fn act(
        &self,
        queue: &Queue,
        action: &str,
        target: impl Display,
        command: Command,
    ) -> Result<Done, QueueError> {
        let records = vec![self.did(action, target, queue.now())];
        queue.run(Command::Recorded { command: Some(Box::new(command)), records }).await
    }

    /// Records an action that takes many steps before the first of them: none goes unrecorded.
    ///
    /// # Errors
    /// As [`Queue::run`].
    pub(crate) async fn begin(
        &self,
        queue: &Queue,
        action: &str,
        target: impl Display,
    ) -> Result<(), QueueError> {
        let records = vec![self.did(action, target, queue.now())];
        queue.run(Command::Recorded { command: None, records }).await.map(drop)
    }
}

/// Actions with their numbers, the newest first: those before the one with the number `before`, or the last ones; and
/// before which one there may be more.
pub(crate) async fn entries(
    queue: &Queue,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<(u64, Entry)>, Option<u64>), QueueError> {
    let found = queue.storage().log(LOG, before, limit).await?;
    let next = found.last().map(|(number, _)| *number).filter(|_| found.len() == limit);
    let readable = |(number, entry)| Some((number, serde_json::from_value(entry).ok()?));
    Ok((found.into_iter().filter_map(readable).collect(), next))
}

/// Which actions are looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sought {
    /// Actions of this name, such as `token_created`.
    pub(crate) action: Option<String>,
    /// Those of accounts whose name or id has this in it, whatever its case.
    pub(crate) actor: Option<String>,
}

impl Sought {
    fn fits(&self, entry: &Entry) -> bool {
        let by = |actor: &String| {
            let actor = actor.to_lowercase();
            entry.account.to_lowercase().contains(&actor) || entry.account_id.to_lowercase().contains(&actor)
        };
        self.action.as_ref().is_none_or(|action| *action == entry.action)
            && self.actor.as_ref().is_none_or(by)
    }
}

/// As [`entries`], but only those that are looked for. Everything that is kept is looked through, if it takes that.
pub(crate) async fn search(
    queue: &Queue,
    sought: &Sought,
    mut before: Option<u64>,
    limit: usize,
) -> Result<(Vec<(u64, Entry)>, Option<u64>), QueueError> {
    let mut fit = Vec::new();
    loop {
        let (found, next) = entries(queue, before, MAX_PAGE).await?;
        fit.extend(found.into_iter().filter(|(_, entry)| sought.fits(entry)));
        if fit.len() > limit {
            fit.truncate(limit);
            let next = fit.last().map(|(number, _)| *number);
            return Ok((fit, next));
        }
        if next.is_none() {
            return Ok((fit, None));
        }
        before = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_looked_for_is_found_page_by_page_however_far_back_it_is() {
        let queue = Queue::in_memory();
        let actor = |name: &str| Actor { id: format!("id of {name}"), name: name.to_owned(), address: None };
        for number in 0..2500 {
            let (who, action) = if number % 1000 == 3 { ("Ann", "drained") } else { ("Bob", "resumed") };
            actor(who).begin(&queue, action, number).await.unwrap();
        }
        let by_ann = Sought { actor: Some("ann".to_owned()), ..Sought::default() };
        let (first, next) = search(&queue, &by_ann, None, 2).await.unwrap();
        let targets =
            |found: &[(u64, Entry)]| found.iter().map(|(_, entry)| entry.target.clone()).collect::<Vec<_>>();
        assert_eq!(targets(&first), ["2003", "1003"]);
        let (last, end) = search(&queue, &by_ann, next, 2).await.unwrap();
        assert_eq!((targets(&last), end), (vec!["3".to_owned()], None));
        let both = Sought { action: Some("resumed".to_owned()), ..by_ann };
        assert!(search(&queue, &both, None, 2).await.unwrap().0.is_empty());
        assert_eq!(search(&queue, &Sought::default(), None, 50).await.unwrap().0.len(), 50);
    }
}
