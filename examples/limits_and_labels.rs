//! Who may run what, and how much at once: `cargo run -p blobforge-examples --bin limits_and_labels`.

use std::{error::Error, time::Duration};

use blobforge_core::{
    JobType, KeyLimits, LimitBy, Limits, NewJob, Queue, Registration, TypeSettings, WorkerId,
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = Queue::builder().open_in_memory()?;
    let pdf = JobType::new("pdf")?;
    // At most two PDFs of one person at once; and people take turns, however many files each of them brought.
    let limits = Limits { running: Some(2), starts: None };
    let per_key = Some(KeyLimits { by: LimitBy::Submitter, limits });
    queue.set_type(pdf.clone(), TypeSettings { per_key, ..TypeSettings::default() }).await?;

    for page in 1..=5 {
        queue.submit(from("ann", page)?).await?;
    }
    queue.submit(from("bob", 1)?).await?;
    // This one needs a large graphics card.
    let large = from("cleo", 1)?.requires("vram_gb >= 24".parse()?);
    let large = queue.submit(large).await?.id;

    let small = worker(&queue, "small", json!({"vram_gb": 12})).await?;
    let taken = queue.claim(&small, std::slice::from_ref(&pdf), 9, Duration::ZERO).await?;
    let whose: Vec<_> = taken.iter().filter_map(|claimed| claimed.job.body.submitter.as_deref()).collect();
    println!("the small card got files of {}", whose.join(", "));

    if let Some(obstacle) = queue.obstacle(&queue.job(large).await?).await? {
        println!("job {large} waits: {obstacle}");
    }
    let big = worker(&queue, "big", json!({"vram_gb": 24})).await?;
    let taken = queue.claim(&big, &[pdf], 9, Duration::ZERO).await?;
    println!("the big card got job {}", taken.first().ok_or("nothing")?.job.id);
    Ok(())
}

fn from(submitter: &str, page: u32) -> Result<NewJob, Box<dyn Error>> {
    let mut job = NewJob::new("pdf")?.param("page", page);
    job.body.submitter = Some(submitter.to_owned());
    Ok(job)
}

async fn worker(queue: &Queue, name: &str, labels: Value) -> Result<WorkerId, Box<dyn Error>> {
    let id = WorkerId::new(name)?;
    let registration = Registration::new(id.clone(), [JobType::new("pdf")?], name);
    let labels = labels.as_object().cloned().unwrap_or_default();
    queue.register(Registration { labels, ..registration }).await?;
    Ok(id)
}
