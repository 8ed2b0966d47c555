//! Connections between nodes.

use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::limits::NODE_SILENCE_MAX;

/// One connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Makes and takes connections.
pub trait Network: Send + Sync + 'static {
    /// Connects to `host:port`.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;

    /// Listens on `host:port`.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// A connection that was taken and may still have to be agreed on: of its own future, so that no caller holds up others.
pub type Opening = BoxFuture<'static, io::Result<Box<dyn Stream>>>;

/// Takes connections.
pub trait Listener: Send {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Opening>>;

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket is gone.
    fn address(&self) -> io::Result<SocketAddr>;
}

/// TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(prepared(TcpStream::connect(address).await?)?) as Box<dyn Stream>) })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(TcpListener::bind(address).await?) as Box<dyn Listener>) })
    }
}

/// Frames are written whole, so waiting for more would only delay them; and a peer whose machine is gone is noticed also
/// where nothing is sent.
fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let alive = TcpKeepalive::new().with_time(NODE_SILENCE_MAX).with_interval(NODE_SILENCE_MAX).with_retries(3);
    SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    Ok(stream)
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Opening>> {
        Box::pin(async move {
            let (stream, _) = TcpListener::accept(self).await?;
            Ok(Box::pin(async move { Ok(Box::new(prepared(stream)?) as Box<dyn Stream>) }) as Opening)
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}
