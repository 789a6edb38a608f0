//! How the service ends when it is told to.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::*;

impl Forge {
    /// A connection on which this much of a request was sent.
    fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        let head = format!(" HTTP/1.1\r\nHost: forge\r\nAuthorization: Bearer {}\r\n", self.token());
        stream.write_all(request.replacen('\n', &head, 1).as_bytes()).unwrap();
        stream
    }
}

/// Reads until this comes.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(wanted) {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    text
}

fn read_to_end(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // It may also be closed the hard way.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn whoever_hangs_on_does_not_keep_the_service_from_ending_in_good_order() {
    let mut forge = Forge::serve(&[]);
    let said = run(forge.command(&["submit", "--type", "work"]).arg(forge.write("letter.pdf", LETTER)));
    assert_eq!(said.code, Some(0), "{said:?}");
    let mut events = forge.open("GET /api/events\n\r\n");
    read_until(&mut events, "200 OK");
    let mut waiting = forge.open("GET /api/jobs/1?wait_seconds=60\n\r\n");
    let mut upload = forge.open("PUT /api/jobs/upload?type=work\nContent-Length: 1000\r\n\r\nhalf a file");
    // And half a head.
    let half = forge.open("GET /api/jobs\nX-Slow: ");
    // What was sent before this is answered is under way.
    let mut last = forge.open("GET /api/health\n\r\n");
    read_until(&mut last, "200 OK");
    kill_process(Pid::from_child(&forge.service), Signal::TERM).unwrap();
    assert!(read_until(&mut waiting, "\r\n").contains("200 OK"), "who waits is answered");
    read_to_end(events);
    let refused = read_until(&mut upload, "}");
    assert!(refused.contains("503") && refused.contains("stopping"), "{refused}");
    let status = forge.service.wait().unwrap();
    assert!(status.success(), "{status}: {}", forge.log());
    let log = forge.log();
    assert!(log.contains("stopped in good order"), "{log}");
    drop(half);
    // Everything is in the one file: there is no log beside it to be lost.
    let beside = forge.folder.path().join("blobforge.db-wal");
    assert!(fs::metadata(&beside).map_or(0, |file| file.len()) == 0, "{}", beside.display());
}

#[test]
fn who_stops_reading_what_the_service_says_does_not_stop_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = blobforge();
    command.args(["serve", "--port", "0", "--db-path"]).arg(folder.path().join("blobforge.db"));
    let mut service = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(service.stdout.take().unwrap()).read_line(&mut first).unwrap();
    drop(service.stderr.take());
    let url = first.trim().split_once("serves ").unwrap().1.to_owned();
    let mut forge = Forge { folder, service, url, http: reqwest::Client::new() };
    for request in ["GET /api/health\n\r\n", "GET /auth/login\n\r\n", "GET /api/jobs/7\n\r\n"] {
        read_until(&mut forge.open(request), "\r\n");
    }
    kill_process(Pid::from_child(&forge.service), Signal::TERM).unwrap();
    assert!(forge.service.wait().unwrap().success());
}
