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
/// What decoding one frame may take: it inflates into a buffer that doubles, and the message is as large again.
const MEMORY_BYTES_MAX: usize = 6 * FRAME_INFLATED_BYTES_MAX;

/// Decodes a frame as what either end may expect, or a change.
///
/// # Panics
/// When what was decoded is another once it is encoded and decoded again, or when it takes too much memory.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, frame)) => check_frame(frame),
        Some((1, plain)) => check_frame(&packed(plain)),
        Some((2, change)) => check_change(change),
        Some((3, parts)) => check_frame(&packed(&repeated(parts))),
        _ => {}
    }
}

fn check_frame(frame: &[u8]) {
    if let Some(Request::Push(push)) = check_message::<Request>(frame) {
        push.changes.iter().for_each(|change| check_change(change));
    }
    check_message::<Answer>(frame);
}

fn check_message<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &[u8]) -> Option<T> {
    let decode = |frame: &[u8]| within_memory(MEMORY_BYTES_MAX, || frame::decode::<T>(frame));
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

/// What a few bytes of zstd can stand for: how long the beginning is, how long the part that repeats, and how often it
/// does in 24 bits, little-endian; then the two, then the end.
fn repeated(parts: &[u8]) -> Vec<u8> {
    let Some((&[before, unit, low, middle, high], rest)) = parts.split_first_chunk() else { return Vec::new() };
    let (before, rest) = rest.split_at(rest.len().min(before.into()));
    let (unit, after) = rest.split_at(rest.len().min(unit.into()));
    let times = u32::from_le_bytes([low, middle, high, 0]) as usize;
    let times = times.min(FRAME_INFLATED_BYTES_MAX / unit.len().max(1));
    [before, &unit.repeat(times), after].concat()
}
