//! Frames on a connection: CBOR behind a length; and what waits to be sent on it, bounded in number and in bytes.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::codec::length_delimited::LengthDelimitedCodecError;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::refusals::Reason;
use crate::env::network::Stream;
use crate::limits::{NODE_FRAME_BYTES_MAX, NODE_HELLO_BYTES_MAX, NODE_QUEUE_BYTES_MAX, NODE_QUEUE_MAX};

/// The reading half of a connection.
pub(super) type Reader = FramedRead<ReadHalf<Box<dyn Stream>>, LengthDelimitedCodec>;
/// The writing half of a connection.
pub(super) type Writer = FramedWrite<WriteHalf<Box<dyn Stream>>, LengthDelimitedCodec>;

/// The two halves of a connection. It takes small frames only, until [`trust`].
pub(super) fn split(stream: Box<dyn Stream>) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(stream);
    let codec = |max| LengthDelimitedCodec::builder().max_frame_length(max).new_codec();
    (FramedRead::new(read, codec(NODE_HELLO_BYTES_MAX)), FramedWrite::new(write, codec(NODE_FRAME_BYTES_MAX)))
}

/// From here on frames may be as large as a frame can be: the other end is known.
pub(super) fn trust(reader: &mut Reader) {
    reader.decoder_mut().set_max_frame_length(NODE_FRAME_BYTES_MAX);
}

/// What the other end did wrong, when an error says that it did.
pub(super) fn fault(error: &io::Error) -> Option<Reason> {
    let is_too_large = error.get_ref().is_some_and(|inner| inner.is::<LengthDelimitedCodecError>());
    match error.kind() {
        _ if is_too_large => Some(Reason::Frame),
        io::ErrorKind::InvalidData => Some(Reason::Malformed),
        _ => None,
    }
}

/// The bytes of a message.
pub(super) fn encode<T: Serialize>(message: &T) -> Bytes {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes).expect("messages serialize, and memory takes every write");
    bytes.into()
}

/// The message of some bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &BytesMut) -> io::Result<T> {
    ciborium::from_reader(&**bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Writes one message.
pub(super) async fn write<T: Serialize>(writer: &mut Writer, message: &T) -> io::Result<()> {
    writer.send(encode(message)).await
}

/// Reads one frame; the end of the connection is an error.
pub(super) async fn read_frame(reader: &mut Reader) -> io::Result<BytesMut> {
    reader.next().await.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

/// Reads one message; the end of the connection is an error.
pub(super) async fn read<T: DeserializeOwned>(reader: &mut Reader) -> io::Result<T> {
    decode(&read_frame(reader).await?)
}

/// A frame on its way, with its share of the queue's bytes.
pub(super) struct Queued {
    frame: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Puts frames behind each other; whoever finds no room waits. Clones share the queue.
#[derive(Clone)]
pub(super) struct Outbox {
    frames: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

/// The connection has ended; the frame was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// A queue for [`drain`].
pub(super) fn outbox() -> (Outbox, mpsc::Receiver<Queued>) {
    let (frames, queue) = mpsc::channel(NODE_QUEUE_MAX);
    (Outbox { frames, room: Arc::new(Semaphore::new(NODE_QUEUE_BYTES_MAX)) }, queue)
}

impl Outbox {
    /// Queues a frame; frames of one task are sent in the order of these calls.
    pub(super) async fn send(&self, frame: Bytes) -> Result<(), Closed> {
        let bytes = u32::try_from(frame.len().min(NODE_QUEUE_BYTES_MAX)).expect("limits.rs keeps it small");
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        self.frames.send(Queued { frame, _room: room }).await.map_err(|_| Closed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

/// Writes what is queued, many frames at one flush, until the queue is closed.
pub(super) async fn drain(mut writer: Writer, mut queue: mpsc::Receiver<Queued>) -> io::Result<()> {
    const FRAMES_PER_FLUSH: usize = 64;
    let mut frames = Vec::with_capacity(FRAMES_PER_FLUSH);
    while queue.recv_many(&mut frames, FRAMES_PER_FLUSH).await > 0 {
        for queued in frames.drain(..) {
            writer.feed(queued.frame).await?;
        }
        SinkExt::<Bytes>::flush(&mut writer).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stranger_sends_small_frames_only() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let ((_, mut writer), (mut reader, _)) = (split(Box::new(near)), split(Box::new(far)));
        let large = "x".repeat(NODE_HELLO_BYTES_MAX);
        write(&mut writer, &large).await.unwrap();
        assert_eq!(fault(&read::<String>(&mut reader).await.unwrap_err()), Some(Reason::Frame));

        let (near, far) = tokio::io::duplex(1 << 20);
        let ((_, mut writer), (mut reader, _)) = (split(Box::new(near)), split(Box::new(far)));
        trust(&mut reader);
        write(&mut writer, &large).await.unwrap();
        assert_eq!(read::<String>(&mut reader).await.unwrap(), large);
        write(&mut writer, &7_u8).await.unwrap();
        assert_eq!(fault(&read::<String>(&mut reader).await.unwrap_err()), Some(Reason::Malformed));
        drop(writer);
    }

    #[tokio::test]
    async fn whoever_finds_no_room_waits() {
        let (outbox, mut queue) = outbox();
        let half = Bytes::from(vec![0; NODE_QUEUE_BYTES_MAX / 2]);
        outbox.send(half.clone()).await.unwrap();
        outbox.send(half.clone()).await.unwrap();
        let mut third = std::pin::pin!(outbox.send(half));
        assert!(futures::poll!(&mut third).is_pending());
        drop(queue.recv().await);
        assert!(futures::poll!(&mut third).is_ready());
        drop(queue);
        assert_eq!(outbox.send(Bytes::from_static(b"x")).await, Err(Closed));
    }
}
