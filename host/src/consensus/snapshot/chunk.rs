//! Rows of a snapshot as bytes: each key and value behind its length (u32, big-endian); and the digest over all of them.
//! Pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use skerry_store::Row;
use skerry_store::limits::KEY_BYTES_MAX;

use crate::limits::NODE_FRAME_BYTES_MAX;

const LENGTH_BYTES: usize = size_of::<u32>();

/// Bytes that are no chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end within a row.
    #[error("it ends within row {row}")]
    Short {
        /// Which row, from 0 on.
        row: usize,
    },
    /// A key has a length that no key has.
    #[error("the key of row {row} has {bytes} bytes")]
    Key {
        /// Which row, from 0 on.
        row: usize,
        /// The key's length.
        bytes: usize,
    },
    /// A row is none that a snapshot carries.
    #[error("row {row} is local to a node")]
    Local {
        /// Which row, from 0 on.
        row: usize,
    },
}

/// The rows as bytes.
pub(super) fn encode(rows: &[Row]) -> Bytes {
    let size = rows.iter().map(|(key, value)| 2 * LENGTH_BYTES + key.len() + value.len()).sum();
    let mut bytes = BytesMut::with_capacity(size);
    for (key, value) in rows {
        for part in [key, value] {
            let length = u32::try_from(part.len()).expect("a row fits in a frame");
            bytes.put_u32(length);
            bytes.put_slice(part);
        }
    }
    bytes.freeze()
}

/// The rows of some bytes, which they share.
///
/// # Errors
/// [`Malformed`]. Whether the keys rise is the store's to say.
pub(super) fn decode(mut bytes: Bytes) -> Result<Vec<Row>, Malformed> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let row = rows.len();
        let short = Malformed::Short { row };
        let key = take(&mut bytes).ok_or_else(|| short.clone())?;
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(Malformed::Key { row, bytes: key.len() });
        }
        if super::stays_behind(&key) {
            return Err(Malformed::Local { row });
        }
        let value = take(&mut bytes).ok_or(short)?;
        rows.push((key, value));
    }
    Ok(rows)
}

/// A digest over chunks in their order, by their digests: each is hashed behind what came before, the header at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chain([u8; 32]);

impl Chain {
    /// With one chunk more.
    pub(super) fn with(self, digest: &[u8; 32]) -> Self {
        Self(self.end(digest))
    }

    /// The digest over everything.
    pub(super) fn end(self, header: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new().update(&self.0).update(header).finalize().as_bytes()
    }
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    if bytes.len() < LENGTH_BYTES {
        return None;
    }
    let length = bytes.get_u32() as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

const _: () = assert!(NODE_FRAME_BYTES_MAX <= u32::MAX as usize);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_come_back(rows in vec((vec(0x20_u8.., 1..20), vec(any::<u8>(), 0..50)), 0..20)) {
            let rows: Vec<Row> = rows.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            prop_assert_eq!(decode(encode(&rows)), Ok(rows));
        }

        /// Bytes from outside give rows or an error.
        #[test]
        fn any_bytes_are_taken(bytes in vec(any::<u8>(), 0..100)) {
            drop(decode(bytes.into()));
        }
    }

    #[test]
    fn what_is_no_chunk_is_named() {
        let row = |key: &'static [u8]| (Bytes::from_static(key), Bytes::from_static(b"value"));
        let encoded = encode(&[row(b"a"), row(b"b")]);
        assert_eq!(hex::encode(&encoded[..14]), "00000001610000000576616c7565");
        assert_eq!(decode(encoded.slice(..20)), Err(Malformed::Short { row: 1 }));
        assert_eq!(decode(encoded.slice(..16)), Err(Malformed::Short { row: 1 }));
        assert_eq!(decode(encode(&[row(b"")])), Err(Malformed::Key { row: 0, bytes: 0 }));
        assert_eq!(decode(encode(&[row(b"a"), row(&[0x13, 1])])), Err(Malformed::Local { row: 1 }));
        assert_eq!(decode(encode(&[row(&[0])])), Err(Malformed::Local { row: 0 }));
    }
}
