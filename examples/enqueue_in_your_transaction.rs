//! A job and a row of your own, committed together or not at all:
//! `cargo run -p blobforge-examples --bin enqueue_in_your_transaction`.

use std::error::Error;

use blobforge_core::{
    NewJob, Queue,
    rusqlite::{Connection, TransactionBehavior},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.db");
    // The queue makes the file; your own tables live beside its own.
    let queue = Queue::open(&path).await?;
    let mut shop = Connection::open(&path)?;
    shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, book TEXT NOT NULL, job INTEGER)", [])?;

    order(&queue, &mut shop, "Dune", true)?;
    // Something goes wrong after the job was submitted: neither the order nor the job is there.
    order(&queue, &mut shop, "a book that nobody has", false)?;

    let orders: i64 = shop.query_row("SELECT max(id) FROM orders", [], |row| row.get(0))?;
    println!("{orders} order, {} job", queue.counts().await?.total());
    queue.close().await;
    Ok(())
}

fn order(queue: &Queue, shop: &mut Connection, book: &str, in_stock: bool) -> Result<(), Box<dyn Error>> {
    let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let job = queue.submit_within(&transaction, NewJob::new("print")?.param("book", book))?;
    transaction.execute("INSERT INTO orders (book, job) VALUES (?1, ?2)", (book, job.id.get()))?;
    if in_stock {
        transaction.commit()?;
    }
    Ok(())
}
