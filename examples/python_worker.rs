//! A handler in Python, which stays and does one job after the other, beside a queue in this program:
//! `cargo run -p blobforge-examples --bin python_worker`. The handler is `python_worker.py`.

use std::{error::Error, fs, sync::Arc};

use blobforge_core::{NewJob, Queue, blob::read_bytes};
use blobforge_worker_sdk::{
    Worker,
    program::{PYTHON_HELPER, Program, Runner},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("blobforge_runner.py"), PYTHON_HELPER)?;
    let script = folder.path().join("python_worker.py");
    fs::write(&script, include_str!("python_worker.py"))?;

    let queue = Queue::in_memory();
    let mut jobs = Vec::new();
    for content in [&b"dear smith"[..], b"the mill sent paper", &[0x89, b'P', 0xff]] {
        let source = read_bytes(content.to_vec());
        jobs.push(queue.submit_stream(NewJob::new("word-count")?, source, 1000).await?.id);
    }
    let program = Program::new(["python3".into(), script.into_os_string()])?;
    let worker = Worker::builder(Arc::new(queue.clone())).handler(Runner::new("word-count", program));
    println!("{}", worker.drain().await?);
    for id in jobs {
        let job = queue.job(id).await?;
        match (job.result, job.last_error) {
            (Some(result), _) => println!("job {id}: {result}"),
            (_, Some(error)) => println!("job {id}: {}: {}", error.kind, error.message),
            _ => println!("job {id}: neither done nor failed"),
        }
    }
    Ok(())
}
