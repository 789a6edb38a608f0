//! All outputs of a job as one zip file, made while it is sent: neither it nor any file is ever held whole.
//!
//! It is made by the stream that sends it, a piece whenever one is taken: no thread waits for a slow reader, and one that
//! has gone leaves nothing behind. What is not known when a file begins, its checksum and its size, follows it; readers
//! find it by the directory at the end of the zip file, as unzip, file managers and libraries do.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    vec,
};

use blobforge_core::{
    Job, Output, Timestamp,
    blob::{BlobError, BlobStore, ByteStream},
    saved_names,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use poem::Body;
use zip::{
    CompressionMethod, DateTime, ZipWriter,
    result::ZipError,
    write::{SimpleFileOptions, StreamWriter},
};

use crate::service::Breaker;

/// About how much is sent at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
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

/// The zip file of a job, as the body of a reply. If a file cannot be read it breaks off, so that nobody takes it for whole.
///
/// # Errors
/// When not even its beginning can be made: then nothing is sent.
pub(super) async fn body(blobs: Arc<dyn BlobStore>, job: Job, breaker: Breaker) -> Result<Body, BlobError> {
    let id = job.id;
    let mut archive = Archive::new(blobs, job.outputs, job.ended_at.unwrap_or(job.updated_at));
    let first = archive.next_piece().await?;
    let rest = stream::try_unfold(archive, |mut archive| async {
        let piece = archive.next_piece().await?;
        Ok(piece.map(|piece| (piece, archive)))
    });
    let pieces = stream::iter(first.map(Ok)).chain(rest).map_err(move |error: BlobError| {
        tracing::warn!(job = %id, %error, "a zip file broke off");
        breaker.break_off();
        io::Error::other(error)
    });
    Ok(Body::from_bytes_stream(pieces))
}

/// A zip file that is being made.
struct Archive {
    blobs: Arc<dyn BlobStore>,
    /// What is still to come: where it lies in the archive, and what it is.
    waiting: vec::IntoIter<(String, Output)>,
    reading: Option<Reading>,
    /// Gone once the archive is whole.
    zip: Option<ZipWriter<StreamWriter<Written>>>,
    written: Written,
    options: SimpleFileOptions,
}

/// A file on its way into the archive.
struct Reading {
    name: String,
    content: ByteStream,
    /// How many bytes are to come.
    left: u64,
}

impl Archive {
    /// The archive of these files, all of which were made at this time. Nothing is read yet.
    fn new(blobs: Arc<dyn BlobStore>, outputs: Vec<Output>, made_at: Timestamp) -> Self {
        let names = saved_names(outputs.iter().map(|output| output.name.as_str()));
        let waiting: Vec<_> = names.into_iter().zip(outputs).collect();
        let written = Written::default();
        let options = SimpleFileOptions::default().last_modified_time(zip_time(made_at).unwrap_or_default());
        Self {
            blobs,
            waiting: waiting.into_iter(),
            reading: None,
            zip: Some(ZipWriter::new_stream(written.clone())),
            written,
            options,
        }
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, BlobError> {
        while self.zip.is_some() && self.written.bytes().len() < PIECE_BYTES {
            self.go_on().await?;
        }
        let piece = mem::take(&mut *self.written.bytes());
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    /// One step: a piece of a file, the beginning or end of one, or the directory at the end.
    async fn go_on(&mut self) -> Result<(), BlobError> {
        match self.reading.take() {
            Some(reading) => self.read_on(reading).await,
            None => match self.waiting.next() {
                Some((path, output)) => self.begin(path, output).await,
                None => self.finish(),
            },
        }
    }

    async fn begin(&mut self, path: String, output: Output) -> Result<(), BlobError> {
        let content = self.blobs.get(&output.key, None).await?;
        let options = self.options.compression_method(method(&path)).large_file(output.size >= LARGE);
        if let Some(zip) = &mut self.zip {
            zip.start_file(path, options).map_err(unwritten)?;
        }
        self.reading = Some(Reading { name: output.name, content, left: output.size });
        Ok(())
    }

    async fn read_on(&mut self, mut reading: Reading) -> Result<(), BlobError> {
        let piece = reading.content.try_next().await.map_err(BlobError::BrokenOff)?;
        let left = match &piece {
            Some(piece) => reading.left.checked_sub(piece.len() as u64),
            // A file that ends early must not pass for a whole one.
            None => (reading.left == 0).then_some(0),
        };
        let changed = || io::Error::other(format!("{:?} is not as long as it was", reading.name));
        reading.left = left.ok_or_else(|| BlobError::BrokenOff(changed()))?;
        if let (Some(zip), Some(piece)) = (&mut self.zip, piece) {
            zip.write_all(&piece).map_err(BlobError::BrokenOff)?;
            self.reading = Some(reading);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BlobError> {
        match self.zip.take() {
            Some(zip) => zip.finish().map(|_| ()).map_err(unwritten),
            None => Ok(()),
        }
    }
}

/// Writing to memory cannot fail; what the archive cannot hold can.
fn unwritten(error: ZipError) -> BlobError {
    BlobError::BrokenOff(error.into())
}

fn method(path: &str) -> CompressionMethod {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let is_compressed = extension.is_some_and(|extension| COMPRESSED.contains(&extension.as_str()));
    if is_compressed { CompressionMethod::Stored } else { CompressionMethod::Deflated }
}

/// A time as zip files write it, without a zone. None for years that they do not know: before 1980 and after 2107.
fn zip_time(time: Timestamp) -> Option<DateTime> {
    let text = time.to_string();
    let two = |at: usize| text.get(at..at + 2)?.parse().ok();
    let year = text.get(..4)?.parse().ok()?;
    DateTime::from_date_and_time(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?).ok()
}

/// What the archive has written and nobody has taken yet.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek, SeekFrom},
        ops::Range,
        sync::atomic::{AtomicU64, Ordering},
    };

    use async_trait::async_trait;
    use blobforge_core::blob::{DirectAccess, ObjectBlobs, Stored, read_bytes};
    use zip::ZipArchive;

    use super::*;

    const NOON: &str = "2026-03-01T12:34:56Z";

    /// A store of files that are all zeros, long unless called `more`, which counts how much of them was read.
    #[derive(Debug)]
    struct Zeros {
        size: u64,
        read: Arc<AtomicU64>,
    }

    #[async_trait]
    impl BlobStore for Zeros {
        async fn put(&self, key: &str, _: ByteStream, _: u64) -> Result<Stored, BlobError> {
            Err(BlobError::BadKey(key.to_owned()))
        }

        async fn get(&self, key: &str, _: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
            let (piece, read) = (Bytes::from(vec![0; 32 * 1024]), self.read.clone());
            let size = if key == "more" { 7 } else { self.size };
            let pieces = stream::unfold(size, move |left| {
                let piece = piece.slice(..piece.len().min(usize::try_from(left).unwrap()));
                read.fetch_add(piece.len() as u64, Ordering::SeqCst);
                let left = left - piece.len() as u64;
                std::future::ready((!piece.is_empty()).then_some((Ok(piece), left)))
            });
            Ok(pieces.boxed())
        }

        async fn size(&self, _: &str) -> Result<Option<u64>, BlobError> {
            Ok(Some(self.size))
        }

        async fn delete(&self, key: &str) -> Result<(), BlobError> {
            Err(BlobError::BadKey(key.to_owned()))
        }

        fn direct(&self) -> Option<&dyn DirectAccess> {
            None
        }
    }

    fn output(name: &str, size: u64) -> Output {
        Output { name: name.to_owned(), size, sha256: None, key: name.to_owned() }
    }

    async fn stored(contents: &[(&str, &[u8])]) -> (Arc<dyn BlobStore>, Vec<Output>) {
        let blobs = ObjectBlobs::in_memory();
        let mut outputs = Vec::new();
        for (name, content) in contents {
            blobs.put(name, read_bytes(content.to_vec()), u64::MAX).await.unwrap();
            outputs.push(output(name, content.len() as u64));
        }
        (Arc::new(blobs), outputs)
    }

    /// What there is of an archive, and why there is no more.
    async fn made(blobs: Arc<dyn BlobStore>, outputs: Vec<Output>) -> (Vec<u8>, Option<BlobError>) {
        let mut archive = Archive::new(blobs, outputs, NOON.parse().unwrap());
        let mut bytes = Vec::new();
        loop {
            match archive.next_piece().await {
                Ok(Some(piece)) => bytes.extend(piece),
                Ok(None) => return (bytes, None),
                Err(error) => return (bytes, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn files_have_their_content_and_their_time_and_no_file_is_an_archive_too() {
        let (blobs, outputs) =
            stored(&[("a.md", b"# Letter"), ("empty", b""), ("b/c.png", b"picture")]).await;
        let (bytes, error) = made(blobs.clone(), outputs).await;
        assert!(error.is_none(), "{error:?}");
        let mut zip = ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        let names: Vec<_> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["a.md", "empty", "b/c.png"]);
        let mut letter = zip.by_name("a.md").unwrap();
        let made_at = letter.last_modified().unwrap();
        assert_eq!((made_at.year(), made_at.hour(), made_at.second()), (2026, 12, 56));
        let mut text = String::new();
        letter.read_to_string(&mut text).unwrap();
        assert_eq!(text, "# Letter");
        let (none, error) = made(blobs, Vec::new()).await;
        assert!(error.is_none() && ZipArchive::new(io::Cursor::new(none)).unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_taken() {
        let (size, read) = (50_000_000, Arc::new(AtomicU64::new(0)));
        let blobs = Arc::new(Zeros { size, read: read.clone() });
        let mut archive = Archive::new(blobs, vec![output("zeros.zip", size)], Timestamp::ZERO);
        assert_eq!(read.load(Ordering::SeqCst), 0);
        let mut taken = 0;
        while let Some(piece) = archive.next_piece().await.unwrap() {
            assert!(piece.len() < 2 * PIECE_BYTES, "{}", piece.len());
            taken += piece.len() as u64;
            assert!(read.load(Ordering::SeqCst) <= taken, "a piece was read that nobody has taken");
        }
        assert!(taken > size);
    }

    #[tokio::test]
    async fn what_breaks_off_is_no_archive() {
        let (blobs, outputs) = stored(&[("a.png", &[1; 200_000]), ("b.png", &[2; 200_000])]).await;
        let with = |size| vec![outputs[0].clone(), output("b.png", size), outputs[0].clone()];
        for (why, outputs) in [
            ("gone", vec![outputs[0].clone(), output("gone", 7), outputs[1].clone()]),
            ("shorter than it was", with(200_001)),
            ("longer than it was", with(199_999)),
        ] {
            let (bytes, error) = made(blobs.clone(), outputs).await;
            assert!(error.is_some() && bytes.len() > 100_000, "{why}");
            assert!(ZipArchive::new(io::Cursor::new(bytes)).is_err(), "{why}");
        }
    }

    #[tokio::test]
    async fn a_file_larger_than_four_gigabytes_and_one_after_it_are_found() {
        let size = u64::from(u32::MAX) + 100;
        let blobs = Arc::new(Zeros { size, read: Arc::default() });
        let outputs = vec![output("zeros.zip", size), output("more", 7)];
        let mut archive = Archive::new(blobs, outputs, Timestamp::ZERO);
        // What is only zeros takes no disk.
        let (mut file, zeros) = (tempfile::tempfile().unwrap(), [0; 2 * PIECE_BYTES]);
        while let Some(piece) = archive.next_piece().await.unwrap() {
            if piece == zeros[..piece.len()] {
                file.seek(SeekFrom::Current(piece.len() as i64)).unwrap();
            } else {
                file.write_all(&piece).unwrap();
            }
        }
        let mut zip = ZipArchive::new(file).unwrap();
        for (name, size) in [("zeros.zip", size), ("more", 7)] {
            assert_eq!(zip.by_name(name).unwrap().size(), size);
        }
    }
}
