//! Connections, and how long the service waits for what comes over them.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use poem::{
    Addr,
    http::uri::Scheme,
    listener::Acceptor,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long a connection may be kept open without a request.
const IDLE: Duration = Duration::from_secs(75);
/// The most connections that are open at a time; whoever comes then is turned away.
const MAX_CONNECTIONS: usize = 16_384;
/// How long nothing is accepted after that has failed, as it does when there are no more file descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// All open connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<SocketAddr, Arc<Connection>>>>);

/// What is known of a connection.
#[derive(Debug)]
struct Connection(Mutex<State>);

#[derive(Debug)]
struct State {
    /// How many requests are being answered.
    requests: usize,
    /// Since when nothing has been going on.
    quiet_since: Instant,
    /// When the head of a request began to come that is not there yet.
    head_since: Option<Instant>,
    /// It carries an event stream.
    streams: bool,
    /// Since when its reader has taken nothing of what was to be written.
    stuck_since: Option<Instant>,
    /// What is being written cannot be finished, and nobody is to take it for whole.
    broken: bool,
}

/// Breaks off the connection that a request came over.
///
/// A body that fails is not enough: the server waits once more for a connection that has ended with an error, upon which
/// that gives the body an end as if all had gone well.
#[derive(Clone, Debug)]
pub(crate) struct Breaker(Option<Arc<Connection>>);

impl Breaker {
    pub(crate) fn break_off(&self) {
        if let Some(connection) = &self.0 {
            connection.state().broken = true;
        }
    }
}

/// A request on a connection, until it has been answered.
pub(super) struct Answering(Option<Arc<Connection>>);

impl Connections {
    /// Takes note that a request of this peer's is being answered.
    pub(super) fn answering(&self, peer: &Addr) -> Answering {
        let Addr::SocketAddr(peer) = peer else { return Answering(None) };
        let connection = self.open().get(peer).cloned();
        if let Some(connection) = &connection {
            let mut state = connection.state();
            state.requests += 1;
            state.head_since = None;
            state.streams = false;
        }
        Answering(connection)
    }

    fn enter(&self, peer: &Addr) -> Option<Arc<Connection>> {
        let mut open = self.open();
        if open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let now = Instant::now();
        let state = State {
            requests: 0,
            quiet_since: now,
            head_since: Some(now),
            streams: false,
            stuck_since: None,
            broken: false,
        };
        let connection = Arc::new(Connection(Mutex::new(state)));
        if let Addr::SocketAddr(peer) = peer {
            open.insert(*peer, connection.clone());
        }
        Some(connection)
    }

    fn leave(&self, peer: &Addr) {
        if let Addr::SocketAddr(peer) = peer {
            self.open().remove(peer);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_read(&self) {
        let mut state = self.state();
        if state.requests == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    fn has_written(&self) {
        let mut state = self.state();
        state.quiet_since = Instant::now();
        state.head_since = None;
        state.stuck_since = None;
    }

    /// Takes note that its reader takes nothing; whether that may not go on for ever.
    fn is_stuck(&self) -> bool {
        let mut state = self.state();
        state.stuck_since.get_or_insert_with(Instant::now);
        state.streams
    }

    /// Until when something has to come, or go; `None` while a request is being answered, which may take its time.
    fn deadline(&self, patience: Duration) -> Option<Instant> {
        let state = self.state();
        // What a reader of events does not take is overtaken by what happens; who fetches a file may take a break.
        if let Some(since) = state.stuck_since.filter(|_| state.streams) {
            return Some(since + patience);
        }
        let waited = || state.head_since.map_or(state.quiet_since + IDLE, |since| since + patience);
        (state.requests == 0).then(waited)
    }
}

impl Answering {
    /// Who can break off what is answered.
    pub(super) fn breaker(&self) -> Breaker {
        Breaker(self.0.clone())
    }

    /// Takes note that the answer is an event stream.
    pub(super) fn streams(&self) {
        if let Some(connection) = &self.0 {
            connection.state().streams = true;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            let mut state = connection.state();
            state.requests -= 1;
            state.quiet_since = Instant::now();
        }
    }
}

/// Accepts connections that are ended when nothing comes over them.
pub(super) struct Doorkeeper<A> {
    inner: A,
    connections: Connections,
    patience: Duration,
}

impl<A> Doorkeeper<A> {
    /// `patience` is how long the head of a request may take.
    pub(super) fn new(inner: A, connections: Connections, patience: Duration) -> Self {
        Self { inner, connections, patience }
    }
}

impl<A: Acceptor> Acceptor for Doorkeeper<A> {
    type Io = Watched<A::Io>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        loop {
            let accepted = self.inner.accept().await;
            if accepted.is_err() {
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            let (io, local, remote, scheme) = accepted?;
            let Some(connection) = self.connections.enter(&remote.0) else {
                tracing::warn!(%remote, "turned away: {MAX_CONNECTIONS} connections are open");
                continue;
            };
            let connections = self.connections.clone();
            let (patience, peer) = (self.patience, remote.0.clone());
            let watched = Watched { io, connection, connections, peer, patience, timer: None };
            return Ok((watched, local, remote, scheme));
        }
    }
}

/// A connection that ends when nothing comes over it.
pub(super) struct Watched<Io> {
    io: Io,
    connection: Arc<Connection>,
    connections: Connections,
    peer: Addr,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<Io> Watched<Io> {
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.connection.deadline(self.patience) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl<Io> Watched<Io> {
    fn unless_broken(&self) -> io::Result<()> {
        if self.connection.state().broken { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// What came of writing, unless its reader has taken nothing for too long.
    fn unless_stuck(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.connection.has_written();
            return written;
        }
        if !self.connection.is_stuck() {
            return Poll::Pending;
        }
        self.poll_patience(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Io> Drop for Watched<Io> {
    fn drop(&mut self) {
        self.connections.leave(&self.peer);
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.connection.has_read();
        }
        // Looked at after each read as well: a head may come one byte at a time.
        match self.poll_patience(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => read,
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_broken()?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.unless_stuck(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_broken()?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.unless_stuck(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
