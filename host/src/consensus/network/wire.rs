//! Frames on a connection: CBOR behind a length.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::env::network::Stream;
use crate::limits::NODE_FRAME_BYTES_MAX;

/// The reading half of a connection.
pub(super) type Reader = FramedRead<ReadHalf<Box<dyn Stream>>, LengthDelimitedCodec>;
/// The writing half of a connection.
pub(super) type Writer = FramedWrite<WriteHalf<Box<dyn Stream>>, LengthDelimitedCodec>;

/// The two halves of a connection.
pub(super) fn split(stream: Box<dyn Stream>) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(stream);
    let codec = LengthDelimitedCodec::builder().max_frame_length(NODE_FRAME_BYTES_MAX).new_codec();
    (FramedRead::new(read, codec.clone()), FramedWrite::new(write, codec))
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

/// Reads one message; the end of the connection is an error.
pub(super) async fn read<T: DeserializeOwned>(reader: &mut Reader) -> io::Result<T> {
    match reader.next().await {
        Some(frame) => decode(&frame?),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes what is queued, many frames at one flush, until the queue is closed.
pub(super) async fn drain(mut writer: Writer, mut queue: tokio::sync::mpsc::Receiver<Bytes>) -> io::Result<()> {
    const FRAMES_PER_FLUSH: usize = 64;
    let mut frames = Vec::with_capacity(FRAMES_PER_FLUSH);
    while queue.recv_many(&mut frames, FRAMES_PER_FLUSH).await > 0 {
        for frame in frames.drain(..) {
            writer.feed(frame).await?;
        }
        SinkExt::<Bytes>::flush(&mut writer).await?;
    }
    Ok(())
}
