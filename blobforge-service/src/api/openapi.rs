//! The OpenAPI document and its page. Everything that the page loads comes from this service.

use std::{collections::BTreeMap, fmt};

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderValue, header},
};
use poem_openapi::Tags;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, json};

use crate::auth::{Access, ROUTES};

pub(super) const INTRODUCTION: &str = "\
A job queue for large files and slow work.

Send `Authorization: Bearer <token>` with every request; the service prints where its admin token lies when it starts, \
and `POST /api/admin/tokens` makes more. Errors are `application/problem+json` with a stable `code`.";

/// What an operation is about.
#[derive(Tags)]
pub(super) enum Section {
    /// Work, from its submission to its end.
    Jobs,
    /// Where sources and outputs are sent and fetched.
    Files,
    /// What workers say, and what is known of them.
    Workers,
    /// Kinds of work, and what holds for each.
    Types,
    /// How the service is, and what happens in it.
    Service,
    /// Who is told by a request that a job has ended.
    Webhooks,
    /// Tokens for programs.
    Tokens,
}

const SCHEME: &str = "token";

/// The document as the framework writes it.
#[derive(Default, Deserialize)]
struct Spec {
    paths: Paths,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The paths, each with the operations on it. The framework lists a path once for each part of the API that serves it,
/// where a reader would take the last of them alone.
#[derive(Default)]
struct Paths(BTreeMap<String, Map<String, Value>>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Paths {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the paths of an OpenAPI document")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut paths: A) -> std::result::Result<Self, A::Error> {
        while let Some((path, operations)) = paths.next_entry::<String, Map<String, Value>>()? {
            self.0.entry(path).or_default().extend(operations);
        }
        Ok(self)
    }
}

/// The document, with what the framework cannot know: who may use what.
pub(super) fn document(spec: &str) -> String {
    let Spec { paths, rest } = serde_json::from_str(spec).unwrap_or_default();
    let mut document = Value::Object(rest);
    document["paths"] = json!(paths.0);
    document["components"]["securitySchemes"] = json!({SCHEME: {"type": "http", "scheme": "bearer"}});
    let schemas = document["components"]["schemas"].as_object_mut();
    schemas.into_iter().flat_map(Map::values_mut).for_each(tell_the_truth);
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, operations) in paths {
            let Some(operations) = operations.as_object_mut() else { continue };
            for (method, operation) in operations {
                let (security, who) = access_of(method, path).map_or((json!([]), "nobody"), described);
                operation["security"] = security;
                operation["x-access"] = who.into();
            }
        }
    }
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// Says in a schema what the framework leaves out: what need not be there may be `null`, here as in requests, and one of
/// several things need not be an object.
fn tell_the_truth(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    if schema.contains_key("anyOf") || schema.contains_key("oneOf") {
        schema.remove("type");
    }
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        tell_the_truth(property);
        let Some(property) = property.as_object_mut().filter(|_| !is_required(name)) else { continue };
        // Beside a reference nothing else counts.
        if let Some(reference) = property.remove("$ref") {
            property.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
        }
        property.insert("nullable".to_owned(), true.into());
    }
}

fn access_of(method: &str, path: &str) -> Option<Access> {
    let same = |route: &&crate::auth::Route| {
        route.method.eq_ignore_ascii_case(method) && route.pattern.replace("*}", "}") == path
    };
    ROUTES.iter().find(same).map(|route| route.access)
}

fn described(access: Access) -> (Value, &'static str) {
    let bearer = json!([{SCHEME: []}]);
    match access {
        Access::Public | Access::Signed => (json!([]), "anybody"),
        Access::Any | Access::Page => (bearer, "any token"),
        Access::Submit => (bearer, "scope submit"),
        Access::Worker => (bearer, "scope worker"),
        Access::Admin | Access::AdminPage => (bearer, "scope admin"),
    }
}

/// A text that is the same for everybody.
pub(super) struct Fixed {
    content_type: &'static str,
    policy: Option<&'static str>,
    text: String,
}

impl Fixed {
    pub(super) fn json(text: String) -> Self {
        Self { content_type: "application/json", policy: None, text }
    }

    fn asset(content_type: &'static str, text: String) -> Self {
        Self { content_type, policy: None, text }
    }
}

impl Endpoint for Fixed {
    type Output = Response;

    async fn call(&self, _: Request) -> Result<Response> {
        let mut reply = self.text.clone().with_content_type(self.content_type).into_response();
        if let Some(policy) = self.policy {
            reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        Ok(reply)
    }
}

/// What the page may load: its own files, pictures within its style, and the service itself.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>BlobForge API</title>
<link rel=\"stylesheet\" href=\"/assets/swagger-ui.css\">
<script src=\"/assets/swagger-ui.js\" defer></script>
<script src=\"/assets/docs.js\" defer></script>
</head>
<body><div id=\"ui\"></div></body>
</html>
";

const START: &str = "\"use strict\";
SwaggerUIBundle({ dom_id: \"#ui\", url: \"/api/openapi.json\", deepLinking: true, persistAuthorization: false });
";

/// The page and the files it loads, taken out of the one file that the framework makes of them.
pub(super) struct Docs {
    pub(super) page: Fixed,
    pub(super) style: Fixed,
    pub(super) bundle: Fixed,
    pub(super) start: Fixed,
}

impl Docs {
    pub(super) fn new(html: &str) -> Self {
        let between = |open: &str, close: &str| {
            let rest = html.split_once(open).map_or("", |(_, rest)| rest);
            rest.split_once(close).map_or("", |(text, _)| text).to_owned()
        };
        Self {
            page: Fixed {
                content_type: "text/html; charset=utf-8",
                policy: Some(PAGE_POLICY),
                text: PAGE.to_owned(),
            },
            style: Fixed::asset("text/css; charset=utf-8", between("<style charset=\"UTF-8\">", "</style>")),
            bundle: Fixed::asset(
                "text/javascript; charset=utf-8",
                between("<script charset=\"UTF-8\">", "</script>\n</head>"),
            ),
            start: Fixed::asset("text/javascript; charset=utf-8", START.to_owned()),
        }
    }
}
