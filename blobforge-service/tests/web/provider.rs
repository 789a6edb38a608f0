//! A real OpenID provider, in a process that ends with the test.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::node::script;

pub(crate) const SECRET: &str = "secret-that-the-provider-shares-with-the-service";

/// What of somebody an ID token has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdTokens {
    /// Who it is: the rest is told when it is asked for, as by Authelia.
    Subject,
    /// Everything.
    Everything,
}

pub(crate) struct Provider {
    process: Child,
    pub(crate) issuer: String,
    id_tokens: IdTokens,
    service: String,
}

impl Provider {
    /// Starts one for a service at this address.
    pub(crate) fn start(service: &str, id_tokens: IdTokens) -> Self {
        Self::at("0", service, id_tokens)
    }

    fn at(port: &str, service: &str, id_tokens: IdTokens) -> Self {
        let mut node = script("provider.mjs");
        node.env("PORT", port).env("SERVICE", service).env("SECRET", SECRET);
        if id_tokens == IdTokens::Everything {
            node.env("ID_TOKEN_CLAIMS", "all");
        }
        let mut process = node.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // It warns of what is only good for tests.
        let issuer = lines.map_while(Result::ok).find(|line| line.starts_with("http://")).unwrap();
        Self { process, issuer, id_tokens, service: service.to_owned() }
    }

    /// Ends it, as if it were away.
    pub(crate) fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) fn again(&mut self) {
        let port = self.issuer.rsplit(':').next().unwrap().to_owned();
        *self = Self::at(&port, &self.service, self.id_tokens);
    }

    async fn told(&self, wish: Value) {
        let sent = reqwest::Client::new().post(format!("{}/tests", self.issuer)).json(&wish).send().await;
        assert!(sent.unwrap().status().is_success());
    }

    pub(crate) async fn put_in_groups(&self, who: &str, groups: &[&str]) {
        self.told(json!({"groups": {who: groups}})).await;
    }

    pub(crate) async fn change_keys(&self) {
        self.told(json!({"newKeys": true})).await;
    }

    /// Has it answer otherwise than it should, as its script says under this name; as it should again with none.
    pub(crate) async fn lie(&self, how: &str) {
        self.told(json!({"lie": how})).await;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
