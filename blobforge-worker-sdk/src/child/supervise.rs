//! One child, one piece of work.

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::ChildSpec;
use super::error::ChildError;
use super::message::{Advance, ChildProgress, Message, parse};
use super::process::{Finished, Heard, Listener, Process, Watch};

/// Runs one child to its end.
///
/// `on_event` gets every progress line, also one that advances nothing. Cancelling asks the group to end and kills it
/// after the grace; dropping the future kills it at once.
///
/// # Errors
///
/// Every [`ChildError`] can occur. Whatever it is, the child's process group is dead.
pub async fn run(
    spec: ChildSpec,
    cancel: CancellationToken,
    on_event: impl FnMut(ChildProgress) + Send,
) -> Result<Value, ChildError> {
    if cancel.is_cancelled() {
        return Err(ChildError::Cancelled);
    }
    let mut ear = Ear { on_event, advance: Advance::default() };
    let mut process = Process::start(&spec).await.map_err(ChildError::Spawn)?;
    let watch = Watch { limits: &spec.limits, folders: &spec.folders(), cancel: &cancel };
    let Finished { answer, status, lingered, broken } = process.attend(watch, &mut ear).await?;
    match answer {
        Some(Err(error)) => Err(error),
        Some(Ok(result)) if status.success() || lingered => Ok(result),
        None if status.success() => Err(broken.unwrap_or_else(|| {
            ChildError::Protocol("it ended without a \"result\" or \"error\" line".into())
        })),
        _ => Err(process.crash(status, &spec.limits)),
    }
}

/// Runs a program that does no single piece of work, such as a server, until it ends or is cancelled, and hands on each line of
/// its standard output. It dies with this process.
///
/// ```
/// use blobforge_worker_sdk::child::{ChildSpec, accompany};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let spec = ChildSpec::new("/bin/sh", folder.path()).arg("-c").arg("echo ready");
/// let mut heard = Vec::new();
/// accompany(spec, CancellationToken::new(), |line| heard.push(line.to_owned())).await?;
/// assert_eq!(heard, ["ready"]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When it cannot be started, ends with another status than 0, or is cancelled: then it was asked to end, and killed after the
/// grace if it did not.
pub async fn accompany(
    spec: ChildSpec,
    cancel: CancellationToken,
    on_line: impl FnMut(&str) + Send,
) -> Result<(), ChildError> {
    let mut process = Process::start(&spec).await.map_err(ChildError::Spawn)?;
    let watch = Watch { limits: &spec.limits, folders: &spec.folders(), cancel: &cancel };
    let Finished { status, .. } = process.attend(watch, &mut Hearer(on_line)).await?;
    if status.success() { Ok(()) } else { Err(process.crash(status, &spec.limits)) }
}

struct Hearer<F>(F);

impl<F: FnMut(&str) + Send> Listener for Hearer<F> {
    type Answer = ();

    fn line(&mut self, line: &[u8]) -> Heard<()> {
        (self.0)(&String::from_utf8_lossy(line));
        Heard::Nothing
    }
}

struct Ear<F> {
    on_event: F,
    advance: Advance,
}

impl<F: FnMut(ChildProgress) + Send> Listener for Ear<F> {
    type Answer = Result<Value, ChildError>;

    fn line(&mut self, line: &[u8]) -> Heard<Self::Answer> {
        match parse(line) {
            Ok(Message::Progress(progress)) => {
                let advances = self.advance.is_by(&progress);
                (self.on_event)(progress);
                if advances { Heard::Advance } else { Heard::Nothing }
            }
            Ok(Message::Result(answer)) => Heard::Answer(Ok(answer.result)),
            Ok(Message::Error(error)) => Heard::Answer(Err(error.into())),
            Ok(_) => Heard::Nothing,
            Err(reason) => Heard::Broken(reason),
        }
    }
}
