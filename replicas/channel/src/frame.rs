//! How a message becomes bytes: one format byte, then zstd of CBOR. Inflation is bounded, so that a small frame cannot
//! ask for much memory.

use std::io::Read;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// The media type of a frame over HTTP.
pub const MEDIA_TYPE: &str = "application/vnd.skerry.sync";

const FORMAT: u8 = 1;
/// zstd's own default.
const COMPRESSION_LEVEL: i32 = 3;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Over the limit as it travels.
    #[error("the frame is {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Over the limit once inflated.
    #[error("the frame inflates to more than {max} bytes")]
    Bomb {
        /// The limit.
        max: usize,
    },
    /// Written by another version of the protocol.
    #[error("the frame has format {found}, this replica reads {FORMAT}")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// No bytes at all.
    #[error("the frame is empty")]
    Empty,
    /// Not zstd.
    #[error("the frame does not inflate: {0}")]
    Inflate(#[source] std::io::Error),
    /// Not the message that was expected.
    #[error("the frame cannot be decoded: {0}")]
    Decode(String),
}

/// The frame of a message.
///
/// # Errors
/// [`Error::Bomb`] when the message is larger than a receiver would inflate.
///
/// # Panics
/// Never: writing to memory does not fail, and every message serializes.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, Error> {
    let mut plain = Vec::new();
    ciborium::into_writer(message, &mut plain).expect("messages serialize, and memory takes every write");
    if plain.len() > limits::FRAME_INFLATED_BYTES_MAX {
        return Err(Error::Bomb { max: limits::FRAME_INFLATED_BYTES_MAX });
    }
    let mut frame = vec![FORMAT];
    zstd::stream::copy_encode(plain.as_slice(), &mut frame, COMPRESSION_LEVEL).expect("memory takes every write");
    Ok(frame.into())
}

/// The message of a frame.
///
/// # Errors
/// [`Error`]; no frame takes more than [`limits::FRAME_INFLATED_BYTES_MAX`] of memory to refuse.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Error> {
    if frame.len() > limits::FRAME_BYTES_MAX {
        return Err(Error::TooLarge { bytes: frame.len(), max: limits::FRAME_BYTES_MAX });
    }
    let (&format, packed) = frame.split_first().ok_or(Error::Empty)?;
    if format != FORMAT {
        return Err(Error::Format { found: format });
    }
    let max = limits::FRAME_INFLATED_BYTES_MAX;
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).map_err(Error::Inflate)?;
    decoder.take(max as u64 + 1).read_to_end(&mut plain).map_err(Error::Inflate)?;
    if plain.len() > max {
        return Err(Error::Bomb { max });
    }
    let mut rest = plain.as_slice();
    let message = ciborium::from_reader(&mut rest).map_err(|error| Error::Decode(error.to_string()))?;
    if !rest.is_empty() {
        return Err(Error::Decode(format!("{} bytes follow the message", rest.len())));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skerry_model::{Incarnation, Nonce, Origin, ShardId, Timeline};

    use super::*;
    use crate::change::Chain;
    use crate::message::Push;

    #[test]
    fn frames_round_trip() {
        let message = vec!["tide".to_owned(); 1_000];
        let frame = encode(&message).unwrap();
        assert!(frame.len() < 200);
        assert_eq!(decode::<Vec<String>>(&frame).unwrap(), message);
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut frame = vec![FORMAT];
        let zeros = std::io::repeat(0).take(limits::FRAME_INFLATED_BYTES_MAX as u64 + 1);
        zstd::stream::copy_encode(zeros, &mut frame, COMPRESSION_LEVEL).unwrap();
        assert!(frame.len() < 100_000);
        assert!(matches!(decode::<Vec<u8>>(&frame), Err(Error::Bomb { .. })));
    }

    #[test]
    fn what_follows_a_message_is_refused() {
        let mut frame = vec![FORMAT];
        zstd::stream::copy_encode([0x01_u8, 0x02].as_slice(), &mut frame, COMPRESSION_LEVEL).unwrap();
        assert!(matches!(decode::<u8>(&frame), Err(Error::Decode(_))));
    }

    /// Each of them is a byte in the frame, and a hundred frames' worth of memory together.
    #[test]
    fn a_list_of_many_empty_items_is_refused() {
        let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
        let (replica, shard): (Origin, _) = ("shop".parse().unwrap(), ShardId::new(0));
        let one = Push {
            before: Chain::start(&replica, &incarnation, shard),
            replica,
            incarnation,
            timeline: Timeline::from_bytes([1; 16]),
            shard,
            first: 1,
            changes: Vec::new(),
        };
        let push = |changes| Push { changes, ..one.clone() };
        let most = push(vec![Bytes::new(); limits::PUSH_CHANGES_MAX]);
        assert_eq!(decode::<Push>(&encode(&most).unwrap()).unwrap(), most);
        let frame = encode(&push(vec![Bytes::new(); 1_000_000])).unwrap();
        assert!(frame.len() < 1_000, "{}", frame.len());
        let refused = decode::<Push>(&frame).unwrap_err().to_string();
        assert!(refused.contains("a list has more than 1000 items, the limit"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(mut frame: Vec<u8>) {
            let _ = decode::<Vec<String>>(&frame);
            frame.insert(0, FORMAT);
            let _ = decode::<Vec<String>>(&frame);
        }
    }
}
