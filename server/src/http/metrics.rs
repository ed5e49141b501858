//! `GET /metrics`: what the server did and holds, in the text format of Prometheus (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::App;
use super::problem::KINDS;
use crate::embed::{BATCH_BOUNDS, TowerLoad};

/// Upper bounds of the buckets of `clipsight_request_seconds`, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The methods that are told apart: whoever invents more must not fill the memory.
const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::DELETE];

/// What is counted around every request.
#[derive(Default)]
pub(super) struct Metrics {
    open: AtomicI64,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// Answers by route, method and status.
    answers: BTreeMap<(String, String, u16), u64>,
    /// Times by route.
    times: BTreeMap<String, Times>,
    /// Problems by kind.
    problems: BTreeMap<String, u64>,
}

/// How long answers took.
#[derive(Clone, Default)]
struct Times {
    /// Answers within each bound and not within the one before.
    within: [u64; BOUNDS.len()],
    count: u64,
    sum_s: f64,
}

/// A request that is being answered, until this is dropped, whichever way it ends.
pub(super) struct Open<'a>(&'a Metrics);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer to a request, as far as it is counted.
pub(super) struct Answered<'a> {
    /// The route's pattern, without ids; `None` where nothing is.
    pub(super) route: Option<&'a str>,
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    /// The kind of problem that it is, if it is one.
    pub(super) problem: Option<&'a str>,
    pub(super) took: Duration,
}

impl Metrics {
    /// Counts a request as open.
    pub(super) fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    /// Counts an answer.
    pub(super) fn count(&self, answered: &Answered<'_>) {
        let route = answered.route.unwrap_or("none").to_owned();
        let known = METHODS.contains(answered.method);
        let method = if known { answered.method.as_str() } else { "other" };
        let mut counted = self.counted();
        let key = (route.clone(), method.to_owned(), answered.status.as_u16());
        *counted.answers.entry(key).or_default() += 1;
        counted.times.entry(route).or_default().add(answered.took.as_secs_f64());
        if let Some(problem) = answered.problem {
            *counted.problems.entry(problem.to_owned()).or_default() += 1;
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    fn add(&mut self, seconds: f64) {
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.within[bucket] += 1;
        }
        self.count += 1;
        self.sum_s += seconds;
    }
}

/// A page of metrics.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counted(&mut self, counted: &Counted) {
        let name = "clipsight_requests_total";
        self.head(name, "counter", "Requests that were answered.");
        for ((route, method, status), count) in &counted.answers {
            let labels = [("route", &**route), ("method", method), ("status", &status.to_string())];
            self.line(name, &labels, *count as f64);
        }
        let name = "clipsight_problems_total";
        self.head(
            name,
            "counter",
            "Requests that were answered with a problem; overloaded: refused.",
        );
        for kind in KINDS {
            let count = counted.problems.get(kind).copied().unwrap_or_default();
            self.line(name, &[("type", kind)], count as f64);
        }
        let name = "clipsight_request_seconds";
        self.head(name, "histogram", "Time from the head of a request to the head of its answer.");
        for (route, times) in &counted.times {
            let buckets = BOUNDS.map(|bound| bound.to_string()).into_iter().zip(times.within);
            self.histogram(name, ("route", route), buckets, (times.count, times.sum_s));
        }
    }

    /// The lines of one histogram, from buckets that hold what the ones before do not.
    fn histogram(
        &mut self,
        name: &str,
        label: (&str, &str),
        buckets: impl Iterator<Item = (String, u64)>,
        (count, sum): (u64, f64),
    ) {
        let bucket = format!("{name}_bucket");
        let mut within = 0;
        for (bound, more) in buckets {
            within += more;
            self.line(&bucket, &[label, ("le", &bound)], within as f64);
        }
        self.line(&bucket, &[label, ("le", "+Inf")], count as f64);
        self.line(&format!("{name}_sum"), &[label], sum);
        self.line(&format!("{name}_count"), &[label], count as f64);
    }

    /// What waits for the model and in how large batches it runs.
    fn towers(&mut self, towers: &[(&str, TowerLoad)]) {
        let name = "clipsight_queue_depth";
        self.head(name, "gauge", "Requests that hold a place in a tower's queue.");
        for (tower, load) in towers {
            self.line(name, &[("tower", tower)], load.waiting as f64);
        }
        let name = "clipsight_queue_places";
        self.head(name, "gauge", "Places in a tower's queue; with none free a request is refused.");
        for (tower, load) in towers {
            self.line(name, &[("tower", tower)], load.most_waiting as f64);
        }
        let name = "clipsight_batch_size";
        self.head(name, "histogram", "Inputs in a run of a tower.");
        for (tower, TowerLoad { batches, .. }) in towers {
            let buckets = BATCH_BOUNDS.map(|bound| bound.to_string()).into_iter();
            let buckets = buckets.zip(batches.within);
            self.histogram(name, ("tower", tower), buckets, (batches.count, batches.sum as f64));
        }
    }
}

/// A label's value between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All that is counted, and how much is held right now.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
) -> ([(HeaderName, HeaderValue); 1], String) {
    let mut page = Page::default();
    let facts = app.collection.embedder.facts();
    page.head("clipsight_info", "gauge", "Which program and which model answer.");
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("model", &facts.id.0),
        ("name", &facts.name),
        ("precision", &facts.precision),
        ("provider", facts.provider),
    ];
    page.line("clipsight_info", &labels, 1.0);
    let pictures = app.collection.index.len() as f64;
    page.gauge("clipsight_pictures", "Pictures that a search looks through.", pictures);
    let open = app.metrics.open.load(Ordering::Relaxed) as f64;
    page.gauge("clipsight_requests_open", "Requests that are being answered, this one too.", open);
    let uploads = app.limits.uploads.saturating_sub(app.uploads.available_permits()) as f64;
    page.gauge("clipsight_uploads_open", "Forms with pictures that are in memory.", uploads);
    page.towers(&app.collection.embedder.load());
    page.counted(&app.metrics.counted());
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], page.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(method: &Method, took_ms: u64) -> Answered<'_> {
        let (status, took) = (StatusCode::OK, Duration::from_millis(took_ms));
        Answered { route: Some("/v1/search"), method, status, problem: None, took }
    }

    #[test]
    fn buckets_hold_what_is_within_their_bound_and_all_below() {
        let metrics = Metrics::default();
        for took_ms in [1, 4, 20_000] {
            metrics.count(&answered(&Method::POST, took_ms));
        }
        let mut page = Page::default();
        page.counted(&metrics.counted());
        let value = |bound: &str| {
            let line =
                format!("clipsight_request_seconds_bucket{{route=\"/v1/search\",le=\"{bound}\"}} ");
            page.0.split(&line).nth(1).unwrap().lines().next().unwrap().to_owned()
        };
        assert_eq!(
            ["0.001", "0.0025", "0.005", "10", "+Inf"].map(value),
            ["1", "1", "2", "2", "3"]
        );
        let count = "clipsight_request_seconds_count{route=\"/v1/search\"} 3\n";
        assert!(page.0.contains(count), "{}", page.0);
    }

    #[test]
    fn invented_methods_share_one_line() {
        let metrics = Metrics::default();
        for name in ["FOO", "BAR"] {
            metrics.count(&answered(&Method::from_bytes(name.as_bytes()).unwrap(), 1));
        }
        let counted = metrics.counted();
        let key = ("/v1/search".to_owned(), "other".to_owned(), 200);
        assert_eq!(counted.answers, BTreeMap::from([(key, 2)]));
    }

    #[test]
    fn values_of_labels_stay_within_their_quotes() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
