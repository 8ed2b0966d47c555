//! Frames and changes from the other end of a connection. The first byte of an input says what the rest is: 0 a frame,
//! 1 what a frame holds, 2 a change, 3 what a frame holds with a part that repeats (see [`repeated`]).

use std::fmt::Debug;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_channel::change::Change;
use skerry_channel::frame;
use skerry_channel::limits::FRAME_INFLATED_BYTES_MAX;
use skerry_channel::message::{Answer, Request};

use crate::within_memory;

const FORMAT: u8 = 1;
/// What decoding a frame may take for each byte that it inflates to. The buffer for these doubles as it fills, and so do
/// the lists of the message; what has at least a name takes less than that in them.
const MEMORY_FACTOR_MAX: usize = 16;
/// What it may take beside that: zstd reads through a buffer.
const MEMORY_BYTES_MAX: usize = 1 << 20;
/// How long a part that repeats is in all: enough to see what it takes.
const REPEATED_BYTES: usize = 1 << 18;

/// Decodes a frame as what either end may expect, or a change.
///
/// # Panics
/// When what was decoded is another once it is encoded and decoded again, or when it takes too much memory.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, frame)) => check_frame(frame, FRAME_INFLATED_BYTES_MAX),
        Some((1, plain)) => check_frame(&packed(plain), plain.len()),
        Some((2, change)) => check_change(change),
        Some((3, parts)) => {
            let plain = repeated(parts);
            check_frame(&packed(&plain), plain.len());
        }
        _ => {}
    }
}

/// Checks a frame that inflates to so many bytes.
fn check_frame(frame: &[u8], inflated: usize) {
    if let Some(Request::Push(push)) = check_message::<Request>(frame, inflated) {
        push.changes.iter().for_each(|change| check_change(change));
    }
    check_message::<Answer>(frame, inflated);
}

fn check_message<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &[u8], inflated: usize) -> Option<T> {
    let memory = MEMORY_BYTES_MAX + MEMORY_FACTOR_MAX * inflated;
    let decode = |frame: &[u8]| within_memory(memory, || frame::decode::<T>(frame));
    let message = decode(frame).ok()?;
    let again: Bytes = match frame::encode(&message) {
        Ok(again) => again,
        // A field that may be left out takes room once it is there.
        Err(frame::Error::Bomb { .. }) => return Some(message),
        Err(error) => panic!("what was decoded is not encoded: {error}"),
    };
    assert_eq!(decode(&again).expect("it was encoded here"), message);
    Some(message)
}

fn check_change(bytes: &[u8]) {
    if let Ok(change) = Change::decode(bytes) {
        let again = change.encode().expect("no change here is near the limit");
        assert_eq!(Change::decode(&again).expect("it was encoded here"), change);
    }
}

/// A frame of these bytes.
fn packed(plain: &[u8]) -> Vec<u8> {
    let mut frame = vec![FORMAT];
    zstd::stream::copy_encode(plain, &mut frame, 1).expect("memory takes every write");
    frame
}

/// What a few bytes of zstd can stand for. The input says how long the beginning is and how long the part that repeats;
/// then come the two, then the end.
fn repeated(parts: &[u8]) -> Vec<u8> {
    let Some((&[before, unit], rest)) = parts.split_first_chunk() else { return Vec::new() };
    let (before, rest) = rest.split_at(rest.len().min(before.into()));
    let (unit, after) = rest.split_at(rest.len().min(unit.into()));
    [before, &unit.repeat(REPEATED_BYTES / unit.len().max(1)), after].concat()
}
