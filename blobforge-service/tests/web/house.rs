//! A service whose people log in with a real provider.

use std::{net::TcpListener, sync::Arc, time::Duration};

use blobforge_core::{ManualClock, Timestamp};
use blobforge_service::{Guests, OidcOptions, ServeConfig, Service};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use crate::{
    provider::{IdTokens, Provider, SECRET},
    visitor::{Page, Visitor},
};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

pub(crate) struct House {
    pub(crate) service: Service,
    pub(crate) provider: Provider,
    pub(crate) clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl House {
    /// Members of forge-users may log in, and those of forge-admins are administrators.
    pub(crate) async fn open(id_tokens: IdTokens) -> Self {
        Self::open_for(id_tokens, |_| {}).await
    }

    pub(crate) async fn open_for(id_tokens: IdTokens, set: impl FnOnce(&mut Guests)) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let provider = Provider::start(&url, id_tokens);
        let mut guests = Guests {
            groups: vec!["forge-users".to_owned()],
            admin_groups: vec!["forge-admins".to_owned()],
            ..Guests::default()
        };
        set(&mut guests);
        let client_secret = Some(SECRET.parse().unwrap());
        let redirect_url = format!("{url}/auth/callback");
        let oidc = OidcOptions {
            client_secret,
            guests,
            ..OidcOptions::new(&provider.issuer, "blobforge", &redirect_url)
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let folder = tempfile::tempdir().unwrap();
        let config = ServeConfig {
            port,
            oidc: Some(oidc),
            public_url: Some(url),
            clock: Some(clock.clone()),
            ..ServeConfig::local(folder.path())
        };
        Self { service: Service::start(config).await.unwrap(), provider, clock, folder }
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.service.url())
    }

    /// Begins a login; where the provider asks who is there.
    pub(crate) async fn begin(&self, visitor: &mut Visitor, next: &str) -> Url {
        let link = self.at(&format!("/auth/oidc?next={next}"));
        visitor.follow(&link, |url| self.is_providers(url)).await.unwrap()
    }

    /// Tells the provider who is there; where it sends them back to.
    pub(crate) async fn answer(&self, visitor: &mut Visitor, question: &Url, who: &str) -> Url {
        let mut question = question.clone();
        question.query_pairs_mut().append_pair("login_hint", who);
        visitor.follow(question.as_str(), |url| !self.is_providers(url)).await.unwrap()
    }

    /// Logs somebody in; the page that they see then.
    pub(crate) async fn log_in(&self, visitor: &mut Visitor, who: &str) -> Page {
        let question = self.begin(visitor, "/").await;
        let back = self.answer(visitor, &question, who).await;
        visitor.visit(back.as_str()).await
    }

    fn is_providers(&self, url: &Url) -> bool {
        url.as_str().starts_with(&self.provider.issuer)
    }

    /// What of the API needs a session, and nothing more.
    pub(crate) async fn stats(&self, visitor: &Visitor) -> (StatusCode, Value) {
        visitor.ask(&self.at("/api/stats")).await
    }

    /// As whom somebody is logged in.
    pub(crate) async fn account(&self, visitor: &Visitor) -> Value {
        visitor.ask(&self.at("/api/auth/info")).await.1["account"].take()
    }

    /// What the service answers to its administrator.
    pub(crate) async fn admin(&self, method: Method, path: &str) -> Value {
        let request = Client::new().request(method, self.at(path)).bearer_auth(self.service.admin_token());
        let reply = request.send().await.unwrap();
        assert!(reply.status().is_success(), "{reply:?}");
        reply.json().await.unwrap()
    }

    /// The people whom the service knows.
    pub(crate) async fn people(&self) -> Vec<Value> {
        let users = self.admin(Method::GET, "/api/admin/users").await;
        users.as_array().unwrap().iter().filter(|user| user["kind"] == "person").cloned().collect()
    }

    /// The secret of somebody's session.
    pub(crate) fn session(&self, visitor: &Visitor) -> Option<String> {
        let key = (self.service.url(), "bf_session".to_owned());
        visitor.cookies.get(&key).cloned()
    }

    /// What was recorded, the newest first, as who and what.
    pub(crate) async fn recorded(&self) -> Vec<(String, String)> {
        let audit = self.admin(Method::GET, "/api/admin/audit").await;
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
        let entries = audit["items"].as_array().unwrap().iter();
        entries.map(|entry| (text(entry, "account"), text(entry, "action"))).collect()
    }

    /// The secret that a browser has, as the service must not keep it.
    pub(crate) fn keeps(&self, secret: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap());
        files.any(|bytes| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
    }
}
