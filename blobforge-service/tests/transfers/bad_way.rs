//! The bad way that other tests take does what it says: what a client and a server see of each fault.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::fault_proxy::{FAULTS, Fault, FaultProxy};

const SENT: usize = 600_000;
const REPLIED: usize = 400_000;

/// A server that takes a body and replies with `REPLIED` bytes.
struct Server {
    address: SocketAddr,
    /// The length of the body of each request, or where it broke off.
    heard: mpsc::UnboundedReceiver<Result<usize, usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, tell.clone()));
            }
        });
        Self { address, heard, task }
    }

    async fn heard(&mut self) -> Result<usize, usize> {
        self.heard.recv().await.unwrap()
    }
}

async fn answer(stream: TcpStream, tell: mpsc::UnboundedSender<Result<usize, usize>>) {
    let mut stream = BufReader::new(stream);
    let mut expected = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            let _ = tell.send(Err(0));
            return;
        }
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            expected = length.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = Vec::new();
    let mut piece = vec![0; 65_536];
    while body.len() < expected {
        match stream.read(&mut piece).await {
            Ok(length @ 1..) => body.extend_from_slice(&piece[..length]),
            _ => {
                let _ = tell.send(Err(body.len()));
                return;
            }
        }
    }
    let _ = tell.send(Ok(body.len()));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {REPLIED}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&vec![b'x'; REPLIED]).await;
}

/// What a client sees of a request: its status and how much of the reply came, or nothing at all.
async fn request(proxy: &FaultProxy) -> Result<(u16, Result<usize, usize>), reqwest::Error> {
    let client = reqwest::Client::new();
    let mut reply = client.post(format!("http://{}/", proxy.address)).body(vec![b'y'; SENT]).send().await?;
    let (status, mut read) = (reply.status().as_u16(), 0);
    loop {
        match reply.chunk().await {
            Ok(Some(piece)) => read += piece.len(),
            Ok(None) => return Ok((status, Ok(read))),
            Err(_) => return Ok((status, Err(read))),
        }
    }
}

/// A server, and a way to it on which nothing goes wrong by itself.
async fn way() -> (Server, FaultProxy) {
    let server = Server::start().await;
    let proxy = FaultProxy::start(server.address, 42, 0).await;
    (server, proxy)
}

#[tokio::test]
async fn on_a_good_or_slow_way_everything_arrives_and_every_byte_is_counted() {
    let (mut server, proxy) = way().await;
    for slow in [&[][..], &[Fault::Slow]] {
        let before = proxy.forwarded();
        proxy.next(slow);
        assert_eq!(request(&proxy).await.unwrap(), (200, Ok(REPLIED)));
        assert_eq!(server.heard().await, Ok(SENT));
        assert_eq!(proxy.forwarded() - before, SENT as u64);
    }
}

#[tokio::test]
async fn what_is_reset_held_up_or_refused_never_reaches_the_server() {
    let (mut server, proxy) = way().await;
    proxy.next(&[Fault::Reset, Fault::Stall, Fault::Unavailable]);
    assert!(request(&proxy).await.is_err());
    assert!(request(&proxy).await.is_err());
    // A client that is still sending may be told of the end of the connection before it has read the reply.
    if let Ok(refused) = request(&proxy).await {
        assert_eq!(refused, (503, Ok(0)));
    }
    assert_eq!(proxy.forwarded(), 0);
    assert!(server.heard.try_recv().is_err(), "it has heard of nothing");
    assert_eq!(request(&proxy).await.unwrap().0, 200, "the script is over");
}

#[tokio::test]
async fn a_request_that_is_cut_breaks_off_at_both_ends() {
    let (mut server, proxy) = way().await;
    proxy.next(&[Fault::CutRequest]);
    assert!(request(&proxy).await.is_err());
    assert!(server.heard().await.unwrap_err() < SENT);
    assert_eq!(proxy.forwarded(), SENT as u64 / 2);
}

#[tokio::test]
async fn a_reply_that_is_cut_or_dropped_belongs_to_a_request_that_was_heard() {
    let (mut server, proxy) = way().await;
    proxy.next(&[Fault::CutReply, Fault::DropReply]);
    if let Ok((status, read)) = request(&proxy).await {
        assert!(status == 200 && read.unwrap_err() < REPLIED, "{read:?}");
    }
    assert!(request(&proxy).await.is_err());
    assert_eq!((server.heard().await, server.heard().await), (Ok(SENT), Ok(SENT)));
}

#[tokio::test]
async fn a_seed_draws_every_fault_and_the_same_ones_again() {
    let server = Server::start().await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let proxy = FaultProxy::start(server.address, 42, 500).await;
        for _ in 0..40 {
            // Whatever comes of it.
            let _ = request(&proxy).await;
        }
        assert_eq!(proxy.done().len(), FAULTS.len(), "{:?}", proxy.done());
        seen.push(proxy.done());
    }
    assert_eq!(seen[0], seen[1]);
}
