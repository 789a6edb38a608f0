//! Logging in and out, in a browser.

mod login;
mod oidc;

use poem::{
    IntoResponse, Response,
    http::{HeaderValue, header},
    web::Html,
};

pub(super) use login::{log_in, log_out, login_page};
pub(super) use oidc::{begin as oidc_login, finish as oidc_callback};

/// What pages may load: their style, the script of their theme, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title} · BlobForge</title>\
         <link rel=\"icon\" href=\"/assets/icon.svg\" type=\"image/svg+xml\">\
         <link rel=\"stylesheet\" href=\"/assets/style.css\"><script src=\"/assets/theme.js\"></script></head>\
         <body><main class=\"alone\"><img src=\"/assets/icon.svg\" alt=\"\" width=\"32\" height=\"32\">{body}</main></body></html>"
    );
    let mut reply = Html(html).into_response();
    reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    reply
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
