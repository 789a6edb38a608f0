//! A way to a server on which things go wrong, one request for each connection, as a seed says.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How long the proxy stands still before it hangs up. Clients that are less patient hang up themselves.
const STALL: Duration = Duration::from_millis(200);
const MAX_HEAD: usize = 64 * 1024;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection is reset before anything went through.
    Reset,
    /// Nothing moves after the head of the request, and then the connection is reset.
    Stall,
    /// The proxy answers itself: 503.
    Unavailable,
    /// The request goes through as far as the middle of its body.
    CutRequest,
    /// The request goes through, and half of the reply comes back.
    CutReply,
    /// The request goes through, and nothing comes back.
    DropReply,
    /// Everything goes through in small pieces.
    Slow,
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault::Reset,
    Fault::Stall,
    Fault::Unavailable,
    Fault::CutRequest,
    Fault::CutReply,
    Fault::DropReply,
    Fault::Slow,
];

/// Listens, and hands on what comes.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    way: Arc<Way>,
    listening: JoinHandle<()>,
}

struct Way {
    upstream: SocketAddr,
    state: Mutex<State>,
    /// How many bytes of requests' bodies went through.
    forwarded: watch::Sender<u64>,
    /// How many requests are held up.
    held: watch::Sender<u64>,
    /// How many connections are open.
    open: watch::Sender<u64>,
    /// At how many of them nothing goes through any more.
    gate: watch::Sender<u64>,
}

struct State {
    seed: u64,
    /// In a thousand requests.
    rate: u64,
    script: Vec<Fault>,
    done: BTreeMap<Fault, u64>,
}

impl State {
    /// SplitMix64: any seed will do.
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn fate(&mut self) -> Option<Fault> {
        let drawn = match self.script.pop() {
            Some(fault) => Some(fault),
            None if self.draw() % 1000 < self.rate => {
                let which = usize::try_from(self.draw() % FAULTS.len() as u64).unwrap();
                Some(FAULTS[which])
            }
            None => None,
        };
        if let Some(fault) = drawn {
            *self.done.entry(fault).or_default() += 1;
        }
        drawn
    }
}

impl FaultProxy {
    /// A way to `upstream` on which so many of a thousand requests meet a fault.
    pub(crate) async fn start(upstream: SocketAddr, seed: u64, rate: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State { seed, rate, script: Vec::new(), done: BTreeMap::new() });
        let (forwarded, gate) = (watch::Sender::new(0), watch::Sender::new(u64::MAX));
        let (held, open) = (watch::Sender::new(0), watch::Sender::new(0));
        let way = Arc::new(Way { upstream, state, forwarded, held, open, gate });
        let shared = way.clone();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let way = shared.clone();
                way.open.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    // What ends badly is what the proxy is for.
                    drop(way.serve(client).await);
                    way.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, way, listening }
    }

    /// The next requests meet these, the first one first.
    pub(crate) fn next(&self, faults: &[Fault]) {
        self.way.state.lock().unwrap().script = faults.iter().rev().copied().collect();
    }

    pub(crate) fn set_rate(&self, rate: u64) {
        self.way.state.lock().unwrap().rate = rate;
    }

    /// How often each fault happened.
    pub(crate) fn done(&self) -> BTreeMap<Fault, u64> {
        self.way.state.lock().unwrap().done.clone()
    }

    /// How many bytes of requests' bodies went through.
    pub(crate) fn forwarded(&self) -> u64 {
        *self.way.forwarded.borrow()
    }

    /// Lets so many more bytes of requests' bodies through and no more, and waits until they went.
    pub(crate) async fn hold_after(&self, bytes: u64) {
        let at = self.forwarded() + bytes;
        self.way.gate.send_replace(at);
        self.way.forwarded.subscribe().wait_for(|gone| *gone >= at).await.unwrap();
    }

    /// Lets no body of a request through from now on, and waits until one is held up.
    pub(crate) async fn hold_the_next(&self) {
        self.way.gate.send_replace(self.forwarded());
        self.way.held.subscribe().wait_for(|held| *held > 0).await.unwrap();
    }

    /// Lets everything through again, and waits until nobody is left who was held up.
    pub(crate) async fn release(&self) {
        self.way.gate.send_replace(u64::MAX);
        self.way.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Way {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let head = read_head(&mut client).await?;
        let fate = self.state.lock().unwrap().fate();
        let body = head.length;
        match fate {
            Some(Fault::Reset) => return reset(&client),
            Some(Fault::Stall) => {
                let hung_up = async { while client.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
                let _ = tokio::time::timeout(STALL, hung_up).await;
                return reset(&client);
            }
            Some(Fault::Unavailable) => {
                let reply =
                    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                client.write_all(reply).await?;
                return client.shutdown().await;
            }
            _ => {}
        }
        let mut server = TcpStream::connect(self.upstream).await?;
        server.write_all(&head.to_upstream).await?;
        let piece = if fate == Some(Fault::Slow) { 1024 } else { 64 * 1024 };
        let sent = if fate == Some(Fault::CutRequest) { body / 2 } else { body };
        self.forward(&mut client, &mut server, head.body_begun, sent, piece).await?;
        if fate == Some(Fault::CutRequest) {
            reset(&server)?;
            return reset(&client);
        }
        let mut reply = Vec::new();
        if matches!(fate, Some(Fault::CutReply | Fault::DropReply)) {
            server.read_to_end(&mut reply).await?;
            if fate == Some(Fault::CutReply) {
                client.write_all(&reply[..reply.len() / 2]).await?;
            }
            return reset(&client);
        }
        let mut buffer = vec![0; piece];
        loop {
            let read = server.read(&mut buffer).await?;
            if read == 0 {
                return client.shutdown().await;
            }
            client.write_all(&buffer[..read]).await?;
        }
    }

    async fn forward(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        begun: Vec<u8>,
        length: u64,
        piece: usize,
    ) -> io::Result<()> {
        let mut left = length;
        let mut from = io::AsyncReadExt::chain(&begun[..], from);
        let mut buffer = vec![0; piece];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = from.read(&mut buffer[..most]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let gone = *self.forwarded.borrow();
            self.held.send_modify(|held| *held += 1);
            let passed = self.gate.subscribe().wait_for(|gate| gone < *gate).await.map(drop);
            self.held.send_modify(|held| *held -= 1);
            passed.map_err(io::Error::other)?;
            to.write_all(&buffer[..read]).await?;
            left -= read as u64;
            self.forwarded.send_modify(|forwarded| *forwarded += read as u64);
        }
        Ok(())
    }
}

/// The head of a request.
struct Head {
    /// As the server gets it: told to hang up after its reply, so that each request has a connection of its own.
    to_upstream: Vec<u8>,
    /// What came of the body with it.
    body_begun: Vec<u8>,
    /// How long the body is.
    length: u64,
}

async fn read_head(client: &mut TcpStream) -> io::Result<Head> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 2;
        }
        if read.len() > MAX_HEAD || client.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&read[..end]).into_owned();
    let lines = text.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut to_upstream: String = lines.flat_map(|line| [line, "\r\n"]).collect();
    to_upstream += "connection: close\r\n\r\n";
    let body_begun = read[end + 2..].to_vec();
    Ok(Head { to_upstream: to_upstream.into_bytes(), body_begun, length: length.unwrap_or(0) })
}

/// Has the connection end with a reset rather than in good order.
fn reset(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}
