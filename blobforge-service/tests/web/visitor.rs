//! Somebody with a browser, as far as it takes no browser: cookies for each site, and redirects one by one.

use std::collections::BTreeMap;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header, redirect::Policy};
use serde_json::Value;

/// The most steps that a login takes.
const MOST_STEPS: usize = 20;

#[derive(Clone)]
pub(crate) struct Visitor {
    http: Client,
    /// By site and name.
    pub(crate) cookies: BTreeMap<(String, String), String>,
}

/// A page that somebody has before them.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) refresh: Option<String>,
    pub(crate) text: String,
}

impl Visitor {
    pub(crate) fn new() -> Self {
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { http, cookies: BTreeMap::new() }
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let site = url.origin().ascii_serialization();
        let cookies = self.cookies.iter().filter(|((of, _), _)| *of == site);
        let cookies = cookies.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>();
        self.http.request(method, url.clone()).header(header::COOKIE, cookies.join("; "))
    }

    fn keep(&mut self, url: &Url, reply: &Response) {
        let site = url.origin().ascii_serialization();
        for cookie in reply.headers().get_all(header::SET_COOKIE) {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            let key = (site.clone(), name.to_owned());
            if value.is_empty() {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
    }

    /// One step: where it leads, or the page that there is.
    pub(crate) async fn step(&mut self, url: &Url) -> Result<Url, Page> {
        let reply = self.request(Method::GET, url).send().await.unwrap();
        self.arrive(url, reply).await
    }

    async fn arrive(&mut self, url: &Url, reply: Response) -> Result<Url, Page> {
        self.keep(url, &reply);
        let header = |name| reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        if let Some(next) = header(header::LOCATION) {
            return Ok(url.join(&next).unwrap());
        }
        let (status, refresh) = (reply.status(), header(header::REFRESH));
        Err(Page { url: url.clone(), status, refresh, text: reply.text().await.unwrap() })
    }

    /// Goes where a link leads until there is a page, or until `until` says so of the next step.
    pub(crate) async fn follow(&mut self, link: &str, until: impl Fn(&Url) -> bool) -> Result<Url, Page> {
        let mut url = Url::parse(link).unwrap();
        for _ in 0..MOST_STEPS {
            if until(&url) {
                return Ok(url);
            }
            url = self.step(&url).await?;
        }
        panic!("it leads round in circles: {url}");
    }

    /// The page that a link leads to.
    pub(crate) async fn visit(&mut self, link: &str) -> Page {
        self.follow(link, |_| false).await.unwrap_err()
    }

    /// Sends a form from a page of the site itself.
    pub(crate) async fn submit(&mut self, link: &str, form: &str) -> Result<Url, Page> {
        let url = Url::parse(link).unwrap();
        let request = self.request(Method::POST, &url).header("sec-fetch-site", "same-origin");
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let reply = request.body(form.to_owned()).send().await.unwrap();
        self.arrive(&url, reply).await
    }

    /// What the API answers to whoever has the cookies.
    pub(crate) async fn ask(&self, link: &str) -> (StatusCode, Value) {
        let reply = self.request(Method::GET, &Url::parse(link).unwrap()).send().await.unwrap();
        (reply.status(), reply.json().await.unwrap())
    }
}

impl Page {
    /// Checks that it says why somebody may not come in, as text for those who cannot see it too.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, why: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert!(self.text.contains(why) && self.text.contains("role=\"alert\""), "{self:?}");
    }
}
