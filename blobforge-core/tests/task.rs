//! Typed parameters, from the program that submits them to the one that reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fmt::Debug, time::Duration};

use blobforge_core::{
    Body, Invalid, JobType, MAX_JSON_BYTES, NewJob, Queue, Registration, Task, WorkerId,
    broker::{Broker, Wish},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thumbnail {
    size: Size,
    #[serde(default)]
    notes: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Size {
    width: u32,
}

impl Task for Thumbnail {
    const TYPE: &'static str = "thumbnail";
}

fn thumbnail() -> Thumbnail {
    Thumbnail { size: Size { width: 200 }, notes: vec!["grey".to_owned()] }
}

fn body(params: Value) -> Body {
    let Value::Object(params) = params else { panic!("params are an object") };
    Body { params, ..Body::default() }
}

fn comes_back<T: Task + PartialEq + Debug>(task: &T) {
    assert_eq!(&NewJob::task(task).unwrap().body.task::<T>().unwrap(), task);
}

fn refused<T: Task>(task: &T) -> Invalid {
    NewJob::task(task).unwrap_err()
}

#[tokio::test]
async fn a_task_comes_to_the_worker_as_it_was_submitted() {
    let queue = Queue::in_memory();
    let id = queue.submit(NewJob::task(&thumbnail()).unwrap()).await.unwrap().id;
    assert_eq!(queue.job(id).await.unwrap().task::<Thumbnail>().unwrap(), thumbnail());
    let (worker, types) = (WorkerId::new("a").unwrap(), vec![JobType::new("thumbnail").unwrap()]);
    queue.register(Registration::new(worker.clone(), types.clone(), "instance")).await.unwrap();
    let wish = Wish { worker, types, limit: 1, wait: Duration::ZERO, claim_id: None };
    let assignment = Broker::claim(&queue, &wish).await.unwrap().pop().unwrap();
    assert_eq!(assignment.task::<Thumbnail>().unwrap(), thumbnail());
    assert_eq!(assignment.task::<Sweep>().unwrap_err().field, "type", "it is another kind of work");
    assert_eq!(queue.job(id).await.unwrap().task::<Sweep>().unwrap_err().field, "type");
}

#[test]
fn params_that_do_not_fit_are_told_by_the_field_and_what_to_do() {
    let wrong = |params| body(params).task::<Thumbnail>().unwrap_err();
    let kind = wrong(json!({"size": {"width": "wide"}}));
    assert_eq!(kind.field, "params");
    assert!(kind.reason.starts_with("size.width: invalid type: string \"wide\", expected u32"), "{kind}");
    assert!(kind.reason.contains("submit the job again") && kind.reason.contains("\"thumbnail\""), "{kind}");
    let missing = wrong(json!({"size": {}}));
    assert!(missing.reason.contains("missing field `width`"), "{missing}");
    let empty = wrong(json!({}));
    assert!(empty.reason.starts_with("missing field `size`"), "not what null would lack: {empty}");
}

#[test]
fn fields_that_came_later_and_fields_that_went_do_no_harm() {
    let old = body(json!({"size": {"width": 200}, "colour": "grey"}));
    assert_eq!(old.task::<Thumbnail>().unwrap(), Thumbnail { notes: Vec::new(), ..thumbnail() });
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sweep;

impl Task for Sweep {
    const TYPE: &'static str = "sweep";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Size);

impl Task for Wrapped {
    const TYPE: &'static str = "wrapped";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how")]
enum Resize {
    Double,
    To { width: u32 },
}

impl Task for Resize {
    const TYPE: &'static str = "resize";
}

#[test]
fn whatever_is_an_object_in_json_can_be_a_task() {
    comes_back(&thumbnail());
    comes_back(&Sweep);
    comes_back(&Wrapped(Size { width: 3 }));
    comes_back(&Resize::Double);
    comes_back(&Resize::To { width: 3 });
    assert!(NewJob::task(&Sweep).unwrap().body.params.is_empty(), "a unit struct has nothing to say");
    assert!(body(json!({"width": 3})).task::<Sweep>().is_err(), "and nothing to be told");
}

#[derive(Debug, Serialize, Deserialize)]
struct Bare(String);

impl Task for Bare {
    const TYPE: &'static str = "bare";
}

#[derive(Debug, Serialize, Deserialize)]
enum Untagged {
    Double,
}

impl Task for Untagged {
    const TYPE: &'static str = "untagged";
}

#[test]
fn what_is_no_object_is_refused_with_a_remedy() {
    for refused in [refused(&Bare("x".to_owned())), refused(&Untagged::Double)] {
        assert_eq!(refused.field, "params");
        assert!(refused.reason.contains("is a string in JSON"), "{refused}");
        assert!(refused.reason.contains("named fields") && refused.reason.contains("tag ="), "{refused}");
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Misnamed;

impl Task for Misnamed {
    const TYPE: &'static str = "Not a type";
}

#[test]
fn a_task_is_bounded_and_named_as_any_job() {
    assert_eq!(refused(&Misnamed).field, "type");
    let large = Thumbnail { notes: vec!["x".repeat(MAX_JSON_BYTES)], ..thumbnail() };
    let refused = refused(&large);
    assert_eq!(refused.field, "params");
    assert!(refused.reason.contains("source file"), "{refused}");
}
