//! What the ordinary steps of a job cost: a row more in each of them is a row more for every job there ever is.

use std::time::Duration;

use rusqlite::Connection;

use super::{migrations, rows::SqliteRows, statements::Statements};
use crate::{
    Failure, Generation, Jitter, JobType, LeaseSecret, NewJob, Registration, RetryPolicy, Timestamp,
    WorkerId,
    storage::{Claim, Claimed, Command, Done, Outcome, Report, Submit, execute::execute},
};

/// Rows in an SQLite database, and how many of them each command writes.
struct Desk<'c> {
    sql: Statements<'c>,
    connection: &'c Connection,
}

impl Desk<'_> {
    fn run(&mut self, command: Command) -> (Outcome, u64) {
        let before = self.connection.total_changes();
        let mut rows = SqliteRows { sql: &mut self.sql, generation: Generation::new(1) };
        let now = Timestamp::from_millis(1_772_366_400_000);
        let outcome = execute(&mut rows, now, vec![command]).unwrap().outcomes.pop().unwrap();
        (outcome, self.connection.total_changes() - before)
    }

    fn claim(&mut self) -> (Claimed, u64) {
        let (outcome, rows) = self.run(Command::Claim(claim()));
        match outcome {
            Ok(Done::Claimed(mut claimed)) => (claimed.pop().unwrap(), rows),
            other => panic!("{other:?}"),
        }
    }

    fn report(&mut self, held: &Claimed, report: Report) -> u64 {
        let report = Box::new(report);
        self.run(Command::Report { job: held.job.id, token: held.token, report }).1
    }
}

fn pdf() -> JobType {
    JobType::new("pdf").unwrap()
}

fn smith() -> WorkerId {
    WorkerId::new("smith").unwrap()
}

fn submit(job: NewJob) -> Command {
    Command::Submit(Box::new(Submit { job, upload_key: String::new(), default_max_attempts: 3 }))
}

fn claim() -> Claim {
    Claim {
        worker: smith(),
        types: vec![pdf()],
        secrets: vec![LeaseSecret::from_bytes([7; 32])],
        lease: Duration::from_secs(60),
        claim_id: None,
    }
}

fn register() -> Command {
    let registration = Box::new(Registration {
        id: smith(),
        types: vec![pdf()],
        name: None,
        instance: "first".to_owned(),
        previous_instance: None,
        labels: serde_json::Map::new(),
        host: None,
        metadata: serde_json::Map::new(),
    });
    Command::Register { registration, alive_for: Duration::from_secs(60) }
}

fn with_desk(test: impl FnOnce(&mut Desk<'_>)) {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations::migrate(&mut connection).unwrap();
    let mut desk = Desk { sql: Statements::new(&connection), connection: &connection };
    desk.run(register()).0.unwrap();
    // The first job of a type also makes the type.
    desk.run(submit(NewJob::new("pdf").unwrap())).0.unwrap();
    let first = desk.claim().0;
    desk.report(&first, Report::Complete { outputs: Vec::new(), result: None });
    test(&mut desk);
}

#[test]
fn an_ordinary_life_writes_no_row_too_many() {
    with_desk(|desk| {
        let submitted = desk.run(submit(NewJob::new("pdf").unwrap())).1;
        let (held, claimed) = desk.claim();
        let completed = desk.report(&held, Report::Complete { outputs: Vec::new(), result: None });
        // With the row of its hour.
        assert_eq!((submitted, claimed, completed), (4, 6, 7));
    });
}

#[test]
fn only_a_failure_pays_for_its_group() {
    with_desk(|desk| {
        desk.run(submit(NewJob::new("pdf").unwrap())).0.unwrap();
        let (held, _) = desk.claim();
        let failure = Failure::new("encrypted", "a password is needed");
        let policy = RetryPolicy::default();
        let failed =
            desk.report(&held, Report::Fail { failure, retryable: true, policy, jitter: Jitter::NONE });
        // Its group is made, and counted, and its error can be looked for; it is tried again, and counts in no hour.
        assert_eq!(failed, 7 + 3);
    });
}
