//! All outputs of a job as one zip file, made while it is sent.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use blobforge_core::{Job, Output, Queue, saved_names};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use poem::Body;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
};
use zip::{
    CompressionMethod, ZipWriter,
    write::{SimpleFileOptions, StreamWriter},
};

use crate::service::Breaker;

/// How many pieces wait to be sent.
const PIECES: usize = 4;
/// How large a piece is, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How long whoever fetches may take nothing.
const PATIENCE: Duration = Duration::from_secs(120);
/// From which size on a file needs longer numbers in a zip file, with room for what does not compress.
const LARGE: u64 = 4_000_000_000;
/// What is compressed already gains nothing by being compressed again.
const COMPRESSED: [&str; 12] =
    ["png", "jpg", "jpeg", "webp", "gif", "pdf", "zip", "gz", "zst", "mp4", "mp3", "docx"];

/// What the zip file of a job is called.
pub(super) fn name(job: &Job) -> String {
    let path = job.body.source_path.as_deref().unwrap_or_default();
    let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    if stem.is_empty() { format!("job-{}-outputs.zip", job.id) } else { format!("{stem}-outputs.zip") }
}

/// The zip file, as the body of a reply. If a file cannot be read, it breaks off, so that nobody takes it for whole.
pub(super) fn body(
    queue: Queue,
    outputs: Vec<Output>,
    permit: OwnedSemaphorePermit,
    breaker: Breaker,
) -> Body {
    let (pieces, taken) = mpsc::channel(PIECES);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let broken = Arc::new(AtomicBool::new(false));
        let out = Pieces { pieces, runtime: runtime.clone(), gathered: Vec::new(), broken: broken.clone() };
        let mut zip = ZipWriter::new_stream(out);
        match outputs_into(&mut zip, &queue, &runtime, &outputs) {
            Ok(()) => match zip.finish() {
                Ok(out) => out.into_inner().end(),
                Err(error) => tracing::warn!(%error, "a zip file broke off"),
            },
            Err(error) => {
                tracing::warn!(%error, "a zip file broke off");
                broken.store(true, Ordering::Relaxed);
            }
        }
        drop(permit);
    });
    Body::from_bytes_stream(stream::unfold(Some(Sent { pieces: taken, breaker }), next))
}

/// What was made, as it is taken.
struct Sent {
    pieces: mpsc::Receiver<Piece>,
    breaker: Breaker,
}

/// What comes next of the body. It ends well only where it was said to end.
async fn next(sent: Option<Sent>) -> Option<(io::Result<Bytes>, Option<Sent>)> {
    let mut sent = sent?;
    match sent.pieces.recv().await {
        Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(sent))),
        Some(Piece::End) => None,
        None => {
            sent.breaker.break_off();
            Some((Err(io::ErrorKind::UnexpectedEof.into()), None))
        }
    }
}

fn outputs_into(
    zip: &mut ZipWriter<StreamWriter<Pieces>>,
    queue: &Queue,
    runtime: &Handle,
    outputs: &[Output],
) -> io::Result<()> {
    let names = saved_names(outputs.iter().map(|output| output.name.as_str()));
    for (output, name) in outputs.iter().zip(names) {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        let is_compressed = extension.is_some_and(|extension| COMPRESSED.contains(&extension.as_str()));
        let method = if is_compressed { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        let options =
            SimpleFileOptions::default().compression_method(method).large_file(output.size >= LARGE);
        zip.start_file(name, options)?;
        let blobs = queue.blobs();
        let mut content = runtime.block_on(blobs.get(&output.key, None)).map_err(io::Error::other)?;
        while let Some(piece) = runtime.block_on(content.try_next())? {
            zip.write_all(&piece)?;
        }
    }
    Ok(())
}

/// A piece of a zip file on its way.
enum Piece {
    Bytes(Bytes),
    /// It is whole.
    End,
}

/// What is written, piece by piece, on its way to whoever fetches it.
struct Pieces {
    pieces: mpsc::Sender<Piece>,
    runtime: Handle,
    gathered: Vec<u8>,
    /// Nothing is sent any more: the writer of zip files would give a broken one an end all the same.
    broken: Arc<AtomicBool>,
}

impl Pieces {
    fn send_gathered(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        self.send(Piece::Bytes(gathered.into()))
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let sent = self.pieces.send(piece);
        let sent = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, sent).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn end(mut self) {
        if let Err(error) = self.send_gathered().and_then(|()| self.send(Piece::End)) {
            tracing::debug!(%error, "nobody took the end of a zip file");
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken.load(Ordering::Relaxed) {
            return Ok(bytes.len());
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.send_gathered()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
