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
