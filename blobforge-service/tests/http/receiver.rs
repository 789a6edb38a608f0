//! A receiver of webhooks on this machine, which answers as it is told to.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Far longer than anything takes; only so that a test which has failed ends.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// How a request is answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// With this status.
    Status(u16),
    /// With a redirect of this status to there.
    Redirect(u16, String),
    /// Not at all: the connection stays open.
    Silence,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) text: String,
}

impl Heard {
    pub(super) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(super) fn id(&self) -> String {
        self.headers["blobforge-id"].clone()
    }
}

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Answers with these, and then with 200.
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::at("127.0.0.1:0", answers).await
    }

    pub(super) async fn at(address: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.into_iter().collect()));
        let (tell, heard) = mpsc::unbounded_channel();
        let told = answers.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, tell.clone(), told.clone()));
            }
        });
        Self { address, heard, answers, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?key=secret-of-the-path", self.address)
    }

    pub(super) fn answer_next(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// Forgets how it was told to answer.
    pub(super) fn answer_always(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// The next request.
    pub(super) async fn heard(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("a request comes").unwrap()
    }

    /// What has come by now, unasked for.
    pub(super) fn heard_by_now(&mut self) -> Option<Heard> {
        self.heard.try_recv().ok()
    }
}

async fn answer(
    stream: TcpStream,
    tell: mpsc::UnboundedSender<Heard>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(200));
    let _ = tell.send(Heard { path, headers, text: String::from_utf8(body).unwrap() });
    let head = match answer {
        Answer::Status(status) => format!("HTTP/1.1 {status} Answer"),
        Answer::Redirect(status, to) => format!("HTTP/1.1 {status} Moved\r\nlocation: {to}"),
        Answer::Silence => return std::future::pending().await,
    };
    let reply = format!("{head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(reply.as_bytes()).await;
}
