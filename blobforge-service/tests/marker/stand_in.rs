//! The stand-in for the model servers, as a process.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{python, test_file};

/// It ends with this value.
pub(crate) struct StandIn {
    process: Child,
    port: u16,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(python());
        command.arg(test_file("stand_in.py")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, port: port.trim().parse().unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    fn control(&self) -> String {
        format!("http://127.0.0.1:{}/stand-in", self.port)
    }

    /// How it answers from now on: the vision model ("chat") or the two others ("infer").
    pub(crate) async fn trick(&self, who: &str, trick: &str) {
        let told = reqwest::Client::new().post(self.control()).json(&json!({who: trick})).send().await;
        assert!(told.unwrap().status().is_success());
    }

    /// What it was asked so far.
    pub(crate) async fn asked(&self, what: &str) -> u64 {
        let state: Value = reqwest::get(self.control()).await.unwrap().json().await.unwrap();
        state[what].as_u64().unwrap()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
