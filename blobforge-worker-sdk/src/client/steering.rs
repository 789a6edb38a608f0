//! What administrators look at and change: workers, types, tokens and accounts. Replies are as the service sends them.

use blobforge_core::{JobType, WorkerId};
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Client, ClientError};

/// How many entries one request asks for.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

impl Client {
    /// Reads what lies at a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.persist(async || self.read(self.request(Method::GET, path)?).await).await
    }

    /// Sends a change that may do harm when it is done twice: it has a name, by which the service knows a repetition.
    pub(super) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        let mut name = [0; 16];
        getrandom::fill(&mut name)
            .map_err(|error| ClientError::Config(format!("this system has no randomness: {error}")))?;
        let name = hex::encode(name);
        self.persist(async || {
            self.read(self.request(Method::POST, path)?.header("Idempotency-Key", &name).json(body)).await
        })
        .await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.read::<Value>(self.request(Method::DELETE, path)?).await.map(drop)
    }

    /// All entries of a list that comes in pages, or the first so many.
    async fn entries(&self, path: &str, most: usize) -> Result<Vec<Value>, ClientError> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        while found.len() < most {
            let limit = (most - found.len()).min(PAGE).to_string();
            let page: Page = self
                .persist(async || {
                    let request = self.request(Method::GET, path)?;
                    self.read(request.query(&[("cursor", cursor.as_str()), ("limit", &limit)])).await
                })
                .await?;
            found.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
        Ok(found)
    }

    /// How the service is.
    ///
    /// # Errors
    /// When it is not well, or stays away.
    pub async fn health(&self) -> Result<Value, ClientError> {
        self.read(self.request(Method::GET, "api/health")?).await
    }

    /// The processes that run jobs.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn workers(&self) -> Result<Vec<Value>, ClientError> {
        self.entries("api/workers", usize::MAX).await
    }

    /// Gives a worker no more work.
    ///
    /// # Errors
    /// When there is no such worker, or the service refuses or stays away.
    pub async fn drain_worker(&self, id: &WorkerId) -> Result<(), ClientError> {
        let path = format!("api/workers/{id}/drain");
        self.persist(async || self.post::<Value>(&path, &json!({})).await).await.map(drop)
    }

    /// Gives a worker work again.
    ///
    /// # Errors
    /// As [`Client::drain_worker`].
    pub async fn resume_worker(&self, id: &WorkerId) -> Result<(), ClientError> {
        let path = format!("api/workers/{id}/resume");
        self.persist(async || self.post::<Value>(&path, &json!({})).await).await.map(drop)
    }

    /// Forgets a worker; what it runs is lost to it.
    ///
    /// # Errors
    /// As [`Client::drain_worker`].
    pub async fn remove_worker(&self, id: &WorkerId) -> Result<(), ClientError> {
        self.delete(&format!("api/workers/{id}")).await
    }

    /// The types of work.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn types(&self) -> Result<Vec<Value>, ClientError> {
        self.get("api/types").await
    }

    /// Changes what holds for a type: only what is named, and `null` takes a setting back.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn change_type(&self, job_type: &JobType, changes: &Value) -> Result<Value, ClientError> {
        let path = format!("api/types/{job_type}");
        self.persist(async || self.read(self.request(Method::PATCH, &path)?.json(changes)).await).await
    }

    /// The tokens that there are, without their texts.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn tokens(&self) -> Result<Vec<Value>, ClientError> {
        self.entries("api/admin/tokens", usize::MAX).await
    }

    /// Makes a token, as the service's `POST /api/admin/tokens` takes it; its text is in the reply, and nowhere else.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn create_token(&self, wanted: &Value) -> Result<Value, ClientError> {
        self.post_once("api/admin/tokens", wanted).await
    }

    /// Revokes a token by its id.
    ///
    /// # Errors
    /// When there is no such token, or the service refuses or stays away.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.delete_below("api/admin/tokens", &[id]).await
    }

    /// Logs an account out everywhere: a token's, or a person's, by its id. A token itself stays good.
    ///
    /// # Errors
    /// When there is no such account, or the service refuses or stays away.
    pub async fn end_sessions(&self, id: &str) -> Result<(), ClientError> {
        self.delete_below("api/admin/users", &[id, "sessions"]).await
    }

    async fn delete_below(&self, place: &str, parts: &[&str]) -> Result<(), ClientError> {
        let mut address = self.address(place)?;
        // Whatever was typed stays one part of the path.
        if let Ok(mut path) = address.path_segments_mut() {
            path.extend(parts);
        }
        self.delete(address.as_str()).await
    }

    /// Who has an account.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn users(&self) -> Result<Vec<Value>, ClientError> {
        self.entries("api/admin/users", usize::MAX).await
    }

    /// Who did last what only administrators may do, the newest first.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn audit(&self, limit: usize) -> Result<Vec<Value>, ClientError> {
        self.entries("api/admin/audit", limit).await
    }
}
