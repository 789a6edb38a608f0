//! How fast the body of a request has to come.

use std::{io, time::Duration};

use futures_util::{StreamExt, stream};
use poem::Body;
use tokio::time::{Instant, timeout};

/// What has to come within each span of patience, in bytes, unless the body ends. Far less than the slowest line carries.
const LEAST: usize = 16 * 1024;

/// The same body, which fails when it comes too slowly, or when it is larger than `limit` bytes.
pub(crate) fn paced(body: Body, patience: Duration, limit: usize) -> Body {
    let run = Run { patience, limit, total: 0, since: 0, left: patience };
    let state = (run, body.into_bytes_stream());
    Body::from_bytes_stream(stream::try_unfold(state, |(mut run, mut chunks)| async move {
        let began = Instant::now();
        let next = timeout(run.left, chunks.next()).await.map_err(|_| run.too_slow())?;
        // Only the wait counts: its sender has no part in how long a reader takes for what came.
        run.left = run.left.saturating_sub(began.elapsed());
        let Some(chunk) = next.transpose()? else { return Ok(None) };
        run.arrived(chunk.len())?;
        Ok::<_, io::Error>(Some((chunk, (run, chunks))))
    }))
}

/// How it goes.
struct Run {
    patience: Duration,
    limit: usize,
    total: usize,
    /// How much came since a span began, and how much longer the rest of it may be waited for.
    since: usize,
    left: Duration,
}

impl Run {
    fn arrived(&mut self, bytes: usize) -> io::Result<()> {
        self.total = self.total.saturating_add(bytes);
        if self.total > self.limit {
            let text = format!("the body is larger than {} bytes", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        self.since += bytes;
        if self.since >= LEAST {
            self.since = 0;
            self.left = self.patience;
        }
        Ok(())
    }

    fn too_slow(&self) -> io::Error {
        let text =
            format!("less than {LEAST} bytes of the body came within {} s", self.patience.as_secs_f64());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A piece of a body that takes a moment to come, and what comes after it.
    async fn piece(mut come: u32) -> Option<(io::Result<&'static [u8]>, u32)> {
        let mut has_waited = false;
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        come += 1;
        (come <= 3).then_some((Ok(b"piece"), come))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_has_no_part_in_how_long_its_reader_takes() {
        let body = Body::from_bytes_stream(stream::unfold(0, piece));
        let mut pieces = paced(body, PATIENCE, 100).into_bytes_stream();
        for _ in 0..3 {
            tokio::time::advance(2 * PATIENCE).await;
            assert_eq!(pieces.next().await.unwrap().unwrap(), "piece");
        }
        assert!(pieces.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_or_comes_without_end_is_given_up() {
        let begun = stream::iter([io::Result::Ok("a piece")]);
        let body = Body::from_bytes_stream(begun.chain(stream::pending()));
        let began = Instant::now();
        let error = paced(body, PATIENCE, 100).into_bytes().await.unwrap_err().to_string();
        assert!(error.contains("within 30 s"), "{error}");
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        let body = Body::from_bytes_stream(stream::repeat_with(|| io::Result::Ok("piece")));
        let error = paced(body, PATIENCE, 100).into_bytes().await.unwrap_err().to_string();
        assert!(error.contains("larger than 100 bytes"), "{error}");
    }
}
