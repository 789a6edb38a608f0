//! One thread that starts every child.
//!
//! A child that is to die with its parent dies with the *thread* that started it: that is how Linux reads "parent".
//! Threads of an async runtime come and go, so children are started on a thread that stays.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread;

use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::ChildSpec;
use super::confine::Confinement;
use super::group::Group;

type Task = Box<dyn FnOnce() + Send>;

/// Starts a child in a process group of its own, confined as its spec says. If the future is dropped meanwhile, the
/// child is killed.
pub(super) async fn spawn(mut command: Command, spec: &ChildSpec) -> io::Result<(Group, Child)> {
    let runtime = Handle::current();
    let (reply, started) = oneshot::channel();
    let confinement = Confinement::of(spec);
    let mark = spec.mark.clone();
    command.envs(mark.iter().map(super::mark::Mark::variable));
    let task: Task = Box::new(move || {
        let _entered = runtime.enter();
        confinement.applied_to(&mut command);
        let outcome = command.process_group(0).spawn().and_then(|child| {
            let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            // Only a child that was already waited for has no id.
            let leader = leader.ok_or_else(|| io::Error::other("the new process has no id"))?;
            Ok((Group::of(leader, mark), child))
        });
        // Nobody waits any more: the guard in `outcome` kills the child.
        let _ = reply.send(outcome);
    });
    let stopped = || io::Error::other("the thread that starts processes has stopped");
    spawner()?.send(task).map_err(|_| stopped())?;
    started.await.map_err(|_| stopped())?
}

fn spawner() -> io::Result<mpsc::Sender<Task>> {
    static SPAWNER: OnceLock<mpsc::Sender<Task>> = OnceLock::new();
    if let Some(sender) = SPAWNER.get() {
        return Ok(sender.clone());
    }
    let (sender, tasks) = mpsc::channel::<Task>();
    thread::Builder::new().name("child-spawner".into()).spawn(move || {
        for task in tasks {
            task();
        }
    })?;
    // A thread that lost the race ends as soon as its sender is dropped here.
    Ok(SPAWNER.get_or_init(|| sender).clone())
}
