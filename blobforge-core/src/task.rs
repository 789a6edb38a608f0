//! Typed parameters: what a submitter builds and a handler gets, checked on both sides.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Body, Invalid, Job, JobType, NewJob, broker::Assignment};

/// The parameters of one type of job, as a type of the program's own.
///
/// They are kept as the job's `params`, a JSON object, so use a struct with named fields. A unit struct is an empty
/// object. An enum needs `#[serde(tag = "…")]`, and a newtype has to wrap something that is an object: a bare string,
/// number or list has no names to be found by, and is refused when it is submitted.
///
/// Jobs outlive the program that submitted them. Give fields that are added later `#[serde(default)]`, or the jobs that
/// wait can no longer be read.
///
/// ```
/// use blobforge_core::{NewJob, Task};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Thumbnail {
///     width: u32,
/// }
///
/// impl Task for Thumbnail {
///     const TYPE: &'static str = "thumbnail";
/// }
///
/// let job = NewJob::task(&Thumbnail { width: 200 }).unwrap().tag("holiday");
/// assert_eq!(job.body.params["width"], 200);
/// assert_eq!(job.body.task::<Thumbnail>().unwrap(), Thumbnail { width: 200 });
/// ```
pub trait Task: Serialize + DeserializeOwned {
    /// The type of job: `a` to `z`, digits, `.`, `_` and `-`, at most 64 of them.
    ///
    /// As in [`Task`].
    const TYPE: &'static str;
}

impl NewJob {
    /// A job of the task's type with the task as its parameters.
    ///
    /// As in [`Task`].
    ///
    /// # Errors
    /// When the type is not a valid name, or the task is no JSON object of at most [`MAX_JSON_BYTES`](crate::MAX_JSON_BYTES).
    pub fn task<T: Task>(task: &T) -> Result<Self, Invalid> {
        let mut job = Self::new(T::TYPE)?;
        job.body.params = params(task)?;
        job.validate()?;
        Ok(job)
    }
}

impl Body {
    /// The parameters as a task. Nothing here says of which type the job is: where that is in question, use
    /// [`Job::task`] or [`Assignment::task`].
    ///
    /// As in [`Task`].
    ///
    /// # Errors
    /// When they do not fit: `params`, with the field in question and serde's word on it.
    pub fn task<T: Task>(&self) -> Result<T, Invalid> {
        decoded(&self.params).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            let wrong = if path == "." { error.to_string() } else { format!("{path}: {error}") };
            let reason = format!(
                "{wrong}. These are no parameters of the type {:?}: submit the job again with ones that fit",
                T::TYPE
            );
            Invalid::new("params", reason)
        })
    }
}

impl Job {
    /// The parameters as a task.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # use blobforge_core::{NewJob, Queue, Task};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Sweep;
    /// # impl Task for Sweep { const TYPE: &'static str = "sweep"; }
    /// let queue = Queue::in_memory();
    /// let id = queue.submit(NewJob::task(&Sweep).unwrap()).await.unwrap().id;
    /// assert!(queue.job(id).await.unwrap().task::<Sweep>().is_ok());
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the job is of another type (`type`), or the parameters do not fit (`params`).
    pub fn task<T: Task>(&self) -> Result<T, Invalid> {
        of_type::<T>(&self.job_type)?;
        self.body.task()
    }
}

impl Assignment {
    /// The parameters as a task.
    ///
    /// As in [`Job::task`].
    ///
    /// # Errors
    /// When the job is of another type (`type`), or the parameters do not fit (`params`).
    pub fn task<T: Task>(&self) -> Result<T, Invalid> {
        of_type::<T>(&self.job_type)?;
        self.body.task()
    }
}

fn of_type<T: Task>(found: &JobType) -> Result<(), Invalid> {
    if found.as_str() == T::TYPE {
        return Ok(());
    }
    let reason = format!("this job is of the type {:?}, not {:?}", found.as_str(), T::TYPE);
    Err(Invalid::new("type", reason))
}

fn params<T: Task>(task: &T) -> Result<Map<String, Value>, Invalid> {
    let refused = |wrong: String| {
        let remedy = "make the task a struct with named fields, or an enum with #[serde(tag = \"…\")]";
        Invalid::new("params", format!("a task of the type {:?} {wrong}: {remedy}", T::TYPE))
    };
    match serde_json::to_value(task) {
        Ok(Value::Object(params)) => Ok(params),
        // A unit struct: there is nothing to say beyond the type.
        Ok(Value::Null) => Ok(Map::new()),
        Ok(other) => Err(refused(format!("is {} in JSON, and parameters are an object", name_of(&other)))),
        Err(error) => Err(refused(format!("cannot be written as JSON ({error})"))),
    }
}

fn decoded<T: Task>(params: &Map<String, Value>) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    let read = serde_path_to_error::deserialize(Value::Object(params.clone()));
    if params.is_empty() && read.is_err() {
        // What a unit struct is in JSON. Anything else is better explained by what the empty object lacks.
        return serde_json::from_value(Value::Null).or(read);
    }
    read
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
