//! Any program as a handler: `cargo run -p blobforge-examples --bin command_worker`.
//!
//! From a shell it is one line: `blobforge worker --type loud -- sh -c 'tr a-z A-Z < {source} > {outdir}/loud.txt'`.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue, blob::read_bytes};
use blobforge_worker_sdk::{
    Worker,
    program::{Command, Limits, Program},
};
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // {source} is the job's file; every file in {outdir} becomes an output. It sees PATH and the like of our environment,
    // and no secret. Whatever it starts is stopped with it.
    let loud = Program::new(["sh", "-c", "tr a-z A-Z < {source} > {outdir}/loud.txt"])?.limits(Limits {
        total: Some(Duration::from_secs(60)),
        memory_bytes: 256 << 20,
        ..Limits::default()
    });
    let torn = Program::new(["sh", "-c", "echo 'it is torn at page 3' >&2; exit 4"])?;

    let queue = Queue::in_memory();
    let letter = queue.submit_stream(NewJob::new("loud")?, read_bytes("dear smith"), 1000).await?.id;
    let scrap = queue.submit_stream(NewJob::new("torn")?, read_bytes("dear"), 1000).await?.id;
    Worker::builder(Arc::new(queue.clone()))
        .handler(Command::new("loud", loud))
        .handler(Command::new("torn", torn))
        .drain()
        .await?;

    let text: Vec<_> = queue.output(letter, "loud.txt").await?.try_collect().await?;
    println!("{}", String::from_utf8(text.concat())?);
    let error = queue.job(scrap).await?.last_error.ok_or("it cannot have worked")?;
    println!("{}: {}", error.kind, error.message);
    Ok(())
}
