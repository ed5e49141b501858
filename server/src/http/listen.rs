//! The socket: bound with clear errors, with a bound on connections and on saying goodbye.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a connection may take over the head of its next request, idle time included: whoever
/// sends it byte by byte holds nobody else up for longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the server cannot listen, or stopped listening.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error(
        "{listen} is in use by another program; stop it, or choose another port with --listen ADDR:PORT"
    )]
    InUse {
        /// As it was asked for.
        listen: String,
    },
    /// The address is none of this machine's, or not one at all.
    #[error(
        "cannot listen on {listen:?}; --listen takes an address of this machine and a port, for example 127.0.0.1:8080"
    )]
    Address {
        /// As it was asked for.
        listen: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A socket that is bound and not yet answered: connections wait.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// Where it listens, with the port that was picked for port 0.
    pub address: SocketAddr,
}

/// Takes the address, before anything slow is done.
///
/// # Errors
/// [`ListenError::InUse`] and [`ListenError::Address`], which name the address and the way out.
pub async fn bind(listen: &str) -> Result<Bound, ListenError> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { listen: listen.to_owned() },
        _ => ListenError::Address { listen: listen.to_owned(), source },
    };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Bound { listener, address })
}

/// Answers until `stop`; then lets open requests finish for at most `grace`.
///
/// At most `connections` are open at a time; further ones wait in the queue of the operating system.
pub async fn serve(
    bound: Bound,
    router: Router,
    connections: usize,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let open = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(connections));
    let mut stop = pin!(stop);
    loop {
        let (stream, held) = tokio::select! {
            accepted = accept(&bound.listener, &room) => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection broke off");
            }
            drop(held);
        });
    }
    drop(bound);
    tokio::select! {
        () = open.shutdown() => {}
        () = tokio::time::sleep(grace) => {
            tracing::warn!(?grace, "requests were still open and have been dropped");
        }
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let held = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and written at once: there is nothing to collect.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection sends with delay");
                }
                return (stream, held);
            }
            Err(error) => {
                // For example too many open files: waiting may help, ending would not.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_names_the_address_and_the_way_out() {
        let first = bind("127.0.0.1:0").await.unwrap();
        let taken = first.address.to_string();
        let error = bind(&taken).await.unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }));
        let text = error.to_string();
        assert!(text.contains(&taken) && text.contains("--listen"), "{text}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_told() {
        for listen in ["127.0.0.1", "nonsense:99999", "192.0.2.1:80"] {
            let error = bind(listen).await.unwrap_err().to_string();
            assert!(error.contains(listen), "{error}");
        }
    }
}
