//! A program that is started anew for each job.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Program,
    job_files::{JobFiles, send_outputs},
};
use crate::{
    Handler, JobContext, JobError, Workplace,
    child::{Advance, ChildError, Finished, Heard, Listener, Message, Process, TextLines, Watch, parse},
};

/// How long a command may be silent if nobody says otherwise: neither a line nor a byte more in its output folder.
const SILENCE: Duration = Duration::from_secs(60 * 60);

/// A handler that starts a program for each job.
///
/// In the arguments `{source}` stands for the job's source, `{outdir}` for the folder whose files become the job's
/// outputs, `{scratch}` for one whose files are thrown away, and `{job}` for a file that describes the job as JSON. The
/// variables `BLOBFORGE_SOURCE`, `BLOBFORGE_OUTDIR`, `BLOBFORGE_SCRATCH` and `BLOBFORGE_JOB` say the same.
///
/// With status 0 the job is completed; any other one is a `handler_error` whose message ends with the last 4 KB of
/// standard error. What the program prints goes into the job's log. A line such as
/// `{"type":"progress","done":3,"total":10}` is progress, and `result` and `error` lines are understood as well, as in
/// [`crate::child`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use blobforge_core::{NewJob, Queue};
/// use blobforge_worker_sdk::{Worker, program::{Command, Program}};
///
/// let queue = Queue::in_memory();
/// let count = Program::new(["sh", "-c", "wc -w < {source} > {outdir}/words.txt"]).unwrap();
/// let worker = Worker::builder(Arc::new(queue.clone())).handler(Command::new("word-count", count));
/// let text = blobforge_core::blob::read_bytes("Dear Margaret, ");
/// let job = queue.submit_stream(NewJob::new("word-count").unwrap(), text, 100).await.unwrap();
/// assert_eq!(worker.drain().await.unwrap().completed, 1);
/// assert_eq!(queue.job(job.id).await.unwrap().outputs[0].name, "words.txt");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    job_type: String,
    program: Program,
}

impl Command {
    /// Serves a type with a program.
    pub fn new(job_type: impl Into<String>, program: Program) -> Self {
        Self { job_type: job_type.into(), program: program.silent_at_most(SILENCE) }
    }
}

#[async_trait]
impl Handler for Command {
    fn job_type(&self) -> &str {
        &self.job_type
    }

    async fn prepare(&self, _place: &Workplace) -> Result<(), JobError> {
        self.program.check()
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let files = JobFiles::fetch(job).await?;
        let description = files.scratch_dir.join("job.json");
        tokio::fs::write(&description, files.told(job).to_string()).await?;
        let result = self.call(job, &files, &description).await?;
        job.work_done().await;
        send_outputs(job).await?;
        Ok(result)
    }
}

impl Command {
    async fn call(&self, job: &JobContext, files: &JobFiles, description: &Path) -> Result<Value, JobError> {
        let source = files.source.as_deref().unwrap_or(Path::new(""));
        let places = [
            ("source", source),
            ("outdir", &files.output_dir),
            ("scratch", &files.scratch_dir),
            ("job", description),
        ];
        let mut spec = self.program.spec(&job.workplace(), &files.output_dir, |arg| filled(arg, &places));
        spec.scratch_dir = Some(files.scratch_dir.clone());
        let variable = |name: &str| format!("BLOBFORGE_{}", name.to_ascii_uppercase());
        spec.env.extend(places.iter().map(|(name, path)| (variable(name).into(), (*path).into())));
        spec.env.push(("TMPDIR".into(), files.scratch_dir.clone().into()));

        let mut process = Process::start(&spec).await.map_err(ChildError::Spawn)?;
        let mut ear = Ear::new(job);
        let watch = Watch { limits: &spec.limits, folders: &spec.folders(), cancel: &job.cancelled() };
        let Finished { answer, status, lingered, .. } = process.attend(watch, &mut ear).await?;
        ear.lines.tell_rest(|line| job.log(line));
        match answer {
            Some(Err(error)) => Err(error.into()),
            Some(Ok(result)) if status.success() || lingered => Ok(result),
            None if status.success() => Ok(Value::Null),
            _ => Err(match process.crash(status, &spec.limits) {
                ChildError::Crashed { status, signal: None, stderr } => failed(&status, &stderr),
                crashed => crashed.into(),
            }),
        }
    }
}

/// A program that ended with another status than 0. Its last words are the end of the message.
fn failed(status: &str, stderr: &str) -> JobError {
    match stderr.trim_end() {
        "" => {
            let message = format!("the command ended with {status} and said nothing on standard error");
            JobError::retryable("handler_error", message)
        }
        said => JobError::retryable("handler_error", format!("the command ended with {status}: {said}")),
    }
}

/// An argument with its places filled in.
fn filled(arg: &OsStr, places: &[(&str, &Path)]) -> OsString {
    let mut rest = arg.as_bytes();
    let mut filled = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        let place = places.iter().find_map(|(name, path)| {
            let after = after.strip_prefix(name.as_bytes())?.strip_prefix(b"}")?;
            (*byte == b'{').then_some((path, after))
        });
        match place {
            Some((path, after)) => {
                filled.extend_from_slice(path.as_os_str().as_bytes());
                rest = after;
            }
            None => {
                filled.push(*byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(filled)
}

/// Hears what a command says: lines for people and lines for us, mixed.
struct Ear<'a> {
    job: &'a JobContext,
    advance: Advance,
    /// Of standard error.
    lines: TextLines,
}

impl<'a> Ear<'a> {
    fn new(job: &'a JobContext) -> Self {
        Self { job, advance: Advance::default(), lines: TextLines::default() }
    }

    /// A program that knows nothing of us gets on as long as it says anything.
    fn said(&mut self, line: &[u8]) {
        self.job.log(String::from_utf8_lossy(line).trim_end());
        self.job.gets_on();
    }
}

impl Listener for Ear<'_> {
    type Answer = Result<Value, ChildError>;

    fn line(&mut self, line: &[u8]) -> Heard<Self::Answer> {
        match parse(line) {
            Ok(Message::Progress(progress)) => {
                let advances = self.advance.is_by(&progress);
                self.job.report_progress(progress.into());
                if advances { Heard::Advance } else { Heard::Nothing }
            }
            Ok(Message::Heartbeat) => Heard::Nothing,
            Ok(Message::Result(answer)) => Heard::Answer(Ok(answer.result)),
            Ok(Message::Error(error)) => Heard::Answer(Err(error.into())),
            // What looks like ours and is not may be anything that the program prints.
            _ => {
                self.said(line);
                Heard::Advance
            }
        }
    }

    fn stderr(&mut self, piece: &[u8]) -> bool {
        let job = self.job;
        self.lines.push(piece, |line| job.log(line));
        job.gets_on();
        true
    }

    fn files_grew(&mut self) -> bool {
        self.job.gets_on();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in_wherever_they_stand_and_nothing_else_is_touched() {
        let places = [("source", Path::new("/w/{outdir}.pdf")), ("outdir", Path::new("/w/out"))];
        let cases = [
            ("{source}", "/w/{outdir}.pdf"),
            ("--out={outdir}/a.md", "--out=/w/out/a.md"),
            ("{source}{outdir}", "/w/{outdir}.pdf/w/out"),
            ("{sources} {} {{outdir}} ${x}", "{sources} {} {/w/out} ${x}"),
            ("plain", "plain"),
        ];
        for (arg, expected) in cases {
            assert_eq!(filled(OsStr::new(arg), &places), OsStr::new(expected), "{arg}");
        }
    }
}
