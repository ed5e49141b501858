//! The socket: bound with clear errors, with a bound on connections and on saying goodbye.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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
    /// The socket failed while serving.
    #[error("the server's socket failed")]
    Socket(#[source] io::Error),
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
    let address = listener.local_addr().map_err(ListenError::Socket)?;
    Ok(Bound { listener, address })
}

/// Answers until `stop`; then lets open requests finish for at most `grace`.
///
/// # Errors
/// [`ListenError::Socket`] when the socket fails.
pub async fn serve(
    bound: Bound,
    router: Router,
    connections: usize,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> Result<(), ListenError> {
    let room = Arc::new(Semaphore::new(connections));
    let listener = Limited { listener: bound.listener, room };
    let (say_stopping, stopping) = oneshot::channel();
    let stop = async move {
        stop.await;
        // The receiver is gone only when the server has ended already.
        let _ = say_stopping.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(stop);
    let out_of_patience = async move {
        if stopping.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = server => ended.map_err(ListenError::Socket),
        () = out_of_patience => {
            tracing::warn!(?grace, "requests were still open and have been dropped");
            Ok(())
        }
    }
}

/// A listener that accepts only while there is room.
struct Limited {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Listener for Limited {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Held { stream, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its room back when it closes.
struct Held {
    stream: TcpStream,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
