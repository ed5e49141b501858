//! The rest of a refused body: read and thrown away, within bounds.
//!
//! A client that is still sending when the connection closes sees a broken pipe and never the
//! answer that says why. So what is left of a body is taken in before an error goes out.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;

/// More than this is not taken in: then the client sees the broken pipe.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Nor for longer than this.
const LONGEST: Duration = Duration::from_secs(2);

/// A body that can be read on after its reader has let go of it.
#[derive(Clone)]
pub(super) struct Rest(Arc<Mutex<Body>>);

impl Rest {
    /// Keeps hold of the request's body.
    pub(super) fn of(request: Request) -> (Request, Self) {
        let (head, body) = request.into_parts();
        let rest = Self(Arc::new(Mutex::new(body)));
        (Request::from_parts(head, Body::new(rest.clone())), rest)
    }

    /// Reads and forgets what is left.
    pub(super) async fn drain(mut self) {
        let reading = async {
            let mut taken = 0;
            while taken < MOST_BYTES {
                let frame = std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context));
                let Some(Ok(frame)) = frame.await else { return };
                taken += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        if tokio::time::timeout(LONGEST, reading).await.is_err() {
            tracing::debug!("a refused body was still being sent");
        }
    }
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
