//! The page at `/`: files that are part of the program.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::App;
use super::files::is_known;

/// The page may load its own files and nothing else, and show pictures that it was given.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where the build puts files whose names hold a hash of their content.
const HASHED: &str = "/assets/";
const FOREVER: &str = "public, max-age=31536000, immutable";

/// A file of the page: path from the root, content.
type File = (&'static str, &'static [u8]);

/// What `make web` built; nothing where it did not run before the build of the server.
const BUILT: &[File] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Says how to get the page.
const UNBUILT: &[File] = &[("/index.html", include_bytes!("unbuilt.html"))];

/// The page and its files.
pub(super) fn routes() -> Router<Arc<App>> {
    let files = match BUILT {
        [] => UNBUILT,
        files => files,
    };
    files.iter().fold(Router::new(), |router, &(path, content)| {
        let address = if path == "/index.html" { "/" } else { path };
        let tag = tag_of(content);
        router.route(address, get(async move |asked: HeaderMap| part(path, content, &tag, &asked)))
    })
}

/// Quoted, as it stands in the header `ETag`.
fn tag_of(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let letters: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{letters}\"")
}

/// One file of the page, or that the browser has it already.
fn part(path: &str, content: &'static [u8], tag: &str, asked: &HeaderMap) -> Response<Body> {
    let has_it = is_known(asked, tag);
    let mut response = Response::new(if has_it { Body::empty() } else { Body::from(content) });
    if has_it {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    // What has no hash in its name belongs to this version of the server.
    let caching = if path.starts_with(HASHED) { FOREVER } else { "no-cache" };
    let told: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, caching),
        (header::ETAG, tag),
    ];
    for (name, value) in told {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_a_hash_in_their_name_are_kept_forever_and_the_index_is_asked_for_again() {
        let none = HeaderMap::new();
        let caching = |path: &str| {
            let response = part(path, b"text", "\"tag\"", &none);
            response.headers()[header::CACHE_CONTROL].to_str().unwrap().to_owned()
        };
        assert_eq!(caching("/assets/index-BlAh.js"), FOREVER);
        assert_eq!(caching("/index.html"), "no-cache");
    }

    #[test]
    fn a_browser_that_has_this_version_gets_no_bytes() {
        let tag = tag_of(b"text");
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&tag).unwrap());
        assert_eq!(part("/index.html", b"text", &tag, &asked).status(), StatusCode::NOT_MODIFIED);
        let other = tag_of(b"other");
        assert_eq!(part("/index.html", b"other", &other, &asked).status(), StatusCode::OK);
    }

    #[test]
    fn without_the_page_the_address_says_how_to_get_it() {
        let [(path, content)] = UNBUILT else { panic!("one file") };
        let text = std::str::from_utf8(content).unwrap();
        assert_eq!(*path, "/index.html");
        assert!(text.contains("make web") && text.contains("Node"), "{text}");
        assert!(!text.contains("style") && !text.contains("<script"), "its policy would stop it");
    }
}
