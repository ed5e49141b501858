//! Around every request: its id, its time limit, whom it was meant for, and what its answer carries.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::cors;
use super::drain::Rest;
use super::metrics::Answered;
use super::{App, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every answer carries: no guessing of types, no framing, no leaking of addresses.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The outermost layer: gives the request its id and its time, and every error its form.
pub(super) async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = app.next_request_id();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let _open = app.metrics.open();
    let start = Instant::now();
    let limit = Duration::from_secs(app.limits.timeout_s);
    let theirs = cors::named(request.headers(), &app).map(cors::headers);
    let (request, rest) = Rest::of(request);
    let answer = tokio::time::timeout(limit, next.run(request)).await;
    let late = |_| Problem::timeout(app.limits.timeout_s).into_response();
    let mut response = in_form(answer.unwrap_or_else(late), &id);
    app.metrics.count(&Answered {
        route: route.as_ref().map(MatchedPath::as_str),
        method: &method,
        status: response.status(),
        problem: response.extensions().get::<Problem>().map(Problem::kind),
        took: start.elapsed(),
    });
    if response.status().is_client_error() || response.status().is_server_error() {
        rest.drain().await;
    }
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    headers.extend(theirs.unwrap_or_default());
    if !app.limits.cors_origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let took_ms = start.elapsed().as_millis();
    let status = response.status().as_u16();
    tracing::debug!(id, %method, path, status, took_ms, "answered");
    response
}

/// Gives a problem the id of its request, and makes one of a bare error status.
fn in_form(mut response: Response, id: &str) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if status.is_client_error() || status.is_server_error() => Problem::bare(status),
        None => return response,
    };
    let mut answer = problem.of_request(id).into_response();
    for name in [header::ALLOW, header::CONTENT_RANGE] {
        if let Some(value) = response.headers_mut().remove(&name) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// Lets only requests through that were meant for this server.
///
/// A page elsewhere can make its own name point at 127.0.0.1 and then read every answer (DNS
/// rebinding); its requests still carry that name. And a form elsewhere can be posted here by a
/// visitor's browser; its requests carry the other page's origin.
pub(super) async fn meant_for_us(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let host = host_of(&request);
    if app.limits.loopback && !host.as_deref().is_some_and(|host| app.allows_host(host)) {
        let named = host.unwrap_or_default();
        let detail = format!(
            "the Host header names {named:?}, but this server answers on this machine only; \
             start it with --allow-host NAME if a proxy stands in front"
        );
        return Problem::foreign(detail).into_response();
    }
    let is_named = cors::named(request.headers(), &app).is_some();
    if is_named && cors::is_preflight(&request) {
        return cors::preflight();
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !safe
        && !is_named
        && !is_own(origin, &request, &app)
    {
        let detail = "the request comes from a page of another origin; start the server with \
            --cors-origin ORIGIN if that page may ask";
        return Problem::foreign(detail).into_response();
    }
    next.run(request).await
}

/// Host and port that the request names: in its target (HTTP/2) or its Host header.
fn authority(request: &Request) -> Option<String> {
    let target = request.uri().authority().map(ToString::to_string);
    let header = || request.headers().get(header::HOST)?.to_str().ok().map(str::to_owned);
    target.or_else(header)
}

fn host_of(request: &Request) -> Option<String> {
    let authority: axum::http::uri::Authority = authority(request)?.parse().ok()?;
    Some(authority.host().trim_matches(['[', ']']).to_ascii_lowercase())
}

/// Whether the origin is this server as the request names it, or a host that was allowed.
fn is_own(origin: &HeaderValue, request: &Request, app: &App) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else {
        return false;
    };
    let Some(theirs) = origin.authority() else { return false };
    let same = authority(request).is_some_and(|ours| ours.eq_ignore_ascii_case(theirs.as_str()));
    same || app.limits.allow_hosts.iter().any(|host| host.eq_ignore_ascii_case(theirs.host()))
}

impl App {
    /// Whether a request may name this host on a loopback address.
    fn allows_host(&self, host: &str) -> bool {
        let local = host == "localhost" || host.ends_with(".localhost");
        let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let named = self.limits.allow_hosts.iter().any(|name| name.eq_ignore_ascii_case(host));
        local || loopback || named
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::StatusCode;

    use super::*;

    async fn problem(response: Response) -> serde_json::Value {
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn whatever_a_layer_below_refuses_with_leaves_as_a_problem() {
        for status in (400..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let bare = (status, [(header::ALLOW, "GET")], "plain words").into_response();
            let answer = in_form(bare, "7");
            assert_eq!(answer.headers()[header::ALLOW], "GET");
            assert_eq!(answer.headers().contains_key(header::RETRY_AFTER), status == 503);
            let sent = answer.status();
            let problem = problem(answer).await;
            assert_eq!(problem["status"], sent.as_u16());
            assert_eq!(problem["instance"], "7");
            // An unknown fault of the server is one of ours; a client's keeps its status.
            assert!(sent == status || sent == 500 && status.is_server_error(), "{status}: {sent}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_no_error_stays_as_it_is() {
        let answer = in_form((StatusCode::CREATED, "words").into_response(), "7");
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(to_bytes(answer.into_body(), 99).await.unwrap(), "words");
    }
}
