//! Change chunks from outside, looked through before Automerge decodes them: its columns are run-length encoded, and a
//! chunk of some bytes can stand for more operations than fit in memory. Only uncompressed change chunks are taken.
//!
//! The format is Automerge's binary format (automerge.org/automerge-binary-format-spec): magic bytes, checksum, chunk
//! type, length; then dependencies, actor, sequence, start operation, time, message, other actors, columns.

use automerge::{Change, ChangeHash};
use sha2::{Digest, Sha256};

use super::limits::{
    ACTOR_BYTES_MAX, CHANGE_NAME_BYTES_MAX, CHANGE_OPERATIONS_MAX, CLIENT_CHANGES_MAX, CLIENT_HASHES_MAX,
    CLIENT_SUMMARIES_MAX, DEPENDENCIES_MAX,
};
use super::within;
use crate::engine::Error;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const TYPE_CHANGE: u8 = 1;
const TYPE_COMPRESSED: u8 = 2;
/// Bits and probes of an entry in the Bloom filters of Automerge's sync protocol.
const BLOOM_BITS: u64 = 10;
const BLOOM_PROBES: u64 = 7;
const HASH_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// Column specifications: id << 4, deflated << 3, type.
const KEY_STRING: u64 = 0x15;
const ACTION: u64 = 0x42;
const PREDECESSORS: u64 = 0x70;
const MARK_NAME: u64 = 0xa5;
const DEFLATED: u64 = 1 << 3;
/// The action that begins or ends formatting of a text.
const MARK: u64 = 7;

/// Decodes one change that came from outside.
///
/// # Errors
/// [`Error::Malformed`], and [`Error::Limit`] for one that stands for more than a change may hold.
pub(super) fn decode(chunk: &[u8]) -> Result<Change, Error> {
    look_through(chunk)?;
    let decoded = super::merge::guarded("a change", || Change::try_from(chunk))?;
    let change = decoded.map_err(|error| malformed(error.to_string()))?;
    // Automerge compares the checksum only when it loads whole documents.
    if chunk[MAGIC.len()..][..CHECKSUM_BYTES] != change.hash().0[..CHECKSUM_BYTES] {
        return Err(malformed("its checksum does not match"));
    }
    if change.author().is_some() && change.seq() != 1 {
        return Err(malformed("it names its author, which only an actor's first change may"));
    }
    Ok(change)
}

/// What a change is called, and what it builds on.
pub(super) struct Named {
    pub(super) hash: ChangeHash,
    pub(super) dependencies: Vec<ChangeHash>,
}

/// Reads no more of a change chunk than its name and what it builds on.
///
/// # Errors
/// [`Error::Malformed`].
pub(super) fn named(chunk: &[u8]) -> Result<Named, Error> {
    let mut input = Input(chunk);
    let checksum = input.opened()?;
    // The hash is of everything behind the checksum: type, length and content.
    let hash: [u8; HASH_BYTES] = Sha256::digest(&chunk[MAGIC.len() + checksum.len()..]).into();
    if hash[..checksum.len()] != *checksum {
        return Err(malformed("its checksum does not match"));
    }
    let count = input.length()?;
    within("a change's direct dependencies", count, DEPENDENCIES_MAX)?;
    let hashes = input.take(count * HASH_BYTES)?.as_chunks::<HASH_BYTES>().0;
    Ok(Named { hash: ChangeHash(hash), dependencies: hashes.iter().map(|hash| ChangeHash(*hash)).collect() })
}

/// A change chunk that Automerge has compressed.
pub(super) struct Compressed<'a> {
    /// Magic bytes and checksum, which is of the chunk as it was.
    head: &'a [u8],
    /// A raw DEFLATE stream.
    pub(super) body: &'a [u8],
}

/// Looks whether a chunk is a compressed change; `None` for one of another type.
///
/// # Errors
/// [`Error::Malformed`].
pub(super) fn compressed(chunk: &[u8]) -> Result<Option<Compressed<'_>>, Error> {
    let mut input = Input(chunk);
    let head = input.take(MAGIC.len() + CHECKSUM_BYTES)?;
    if !head.starts_with(&MAGIC) || input.take(1)? != [TYPE_COMPRESSED] {
        return Ok(None);
    }
    if input.length()? != input.0.len() {
        return Err(malformed("its length does not match its header"));
    }
    Ok(Some(Compressed { head, body: input.0 }))
}

impl Compressed<'_> {
    /// The chunk as it was, around its inflated body.
    pub(super) fn with(&self, inflated: &[u8]) -> Vec<u8> {
        chunk(self.head, TYPE_CHANGE, inflated)
    }
}

fn chunk(head: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = head.to_vec();
    chunk.push(kind);
    leb128::write::unsigned(&mut chunk, body.len() as u64).expect("memory takes every write");
    chunk.extend_from_slice(body);
    chunk
}

/// Checks everything that decides how large a message of Automerge's sync protocol grows, before it is decoded: version, heads,
/// hashes asked for, summaries of what its sender has (Bloom filters), changes.
///
/// # Errors
/// [`Error::Malformed`], and [`Error::Limit`] for one that stands for more than a message may hold.
pub(super) fn look_through_message(message: &[u8]) -> Result<(), Error> {
    let what = "a sync message";
    let renamed = |error| match error {
        Error::Malformed { reason, .. } => Error::Malformed { what, reason },
        other => other,
    };
    let look = || {
        let mut input = Input(message);
        input.take(1)?;
        for _ in ["heads", "need"] {
            input.hashes("the hashes in a sync message", CLIENT_HASHES_MAX)?;
        }
        let summaries = input.length()?;
        within("the summaries in a sync message", summaries, CLIENT_SUMMARIES_MAX)?;
        for _ in 0..summaries {
            input.hashes("the hashes in a sync message", CLIENT_HASHES_MAX)?;
            let length = input.length()?;
            check_bloom(input.take(length)?)?;
        }
        let changes = input.length()?;
        within("the changes in a sync message", changes, CLIENT_CHANGES_MAX)?;
        for _ in 0..changes {
            let length = input.length()?;
            input.take(length)?;
        }
        Ok(())
    };
    look().map_err(renamed)
}

/// A Bloom filter of another shape than every client writes would be looked through for as long as it likes.
fn check_bloom(bytes: &[u8]) -> Result<(), Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut input = Input(bytes);
    let (entries, bits, probes) = (input.length()?, input.unsigned()?, input.unsigned()?);
    within("the entries of a Bloom filter", entries, CLIENT_CHANGES_MAX)?;
    if (bits, probes) != (BLOOM_BITS, BLOOM_PROBES) || input.0.is_empty() {
        let expected = format!("not {BLOOM_BITS} and {BLOOM_PROBES}");
        return Err(malformed(format!("its Bloom filter has {bits} bits and {probes} probes an entry, {expected}")));
    }
    Ok(())
}

pub(super) fn malformed(reason: impl Into<String>) -> Error {
    Error::Malformed { what: "a change", reason: reason.into() }
}

/// Whether the change formats texts.
///
/// # Errors
/// [`Error::Malformed`].
pub(super) fn has_marks(chunk: &[u8]) -> Result<bool, Error> {
    let mut marks = 0;
    for (specification, column) in columns(chunk)? {
        if specification == ACTION {
            marks += column.total(Input::mark)?;
        }
    }
    Ok(marks > 0)
}

/// The columns of a change, behind all that comes before them.
fn columns(chunk: &[u8]) -> Result<Vec<(u64, Input<'_>)>, Error> {
    let mut input = Input(chunk);
    input.opened()?;
    let dependencies = input.length()?;
    within("a change's direct dependencies", dependencies, DEPENDENCIES_MAX)?;
    input.take(dependencies * HASH_BYTES)?;
    input.actor()?;
    let (_sequence, _start, _time) = (input.unsigned()?, input.unsigned()?, input.signed()?);
    let message = input.length()?;
    input.take(message)?;
    for _ in 0..input.length()? {
        input.actor()?;
    }
    let mut columns = Vec::new();
    for _ in 0..input.length()? {
        columns.push((input.unsigned()?, input.length()?));
    }
    columns.into_iter().map(|(specification, length)| Ok((specification, Input(input.take(length)?)))).collect()
}

/// Checks everything that decides how large the chunk grows.
fn look_through(chunk: &[u8]) -> Result<(), Error> {
    let mut names = 0_usize;
    for (specification, column) in columns(chunk)? {
        match specification {
            deflated if deflated & DEFLATED != 0 => return Err(malformed("it has a compressed column")),
            ACTION => within("a change's operations", column.total(Input::one)?, CHANGE_OPERATIONS_MAX)?,
            PREDECESSORS => within("a change's predecessors", column.total(Input::length)?, CHANGE_OPERATIONS_MAX)?,
            KEY_STRING | MARK_NAME => names = names.saturating_add(column.total(Input::text)?),
            _ => {}
        }
    }
    within("the names of a change's fields", names, CHANGE_NAME_BYTES_MAX)
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The header of an uncompressed change. Answers with its checksum.
    fn opened(&mut self) -> Result<&'a [u8], Error> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(malformed("it does not start as an Automerge chunk"));
        }
        let checksum = self.take(CHECKSUM_BYTES)?;
        let kind = self.take(1)?[0];
        if kind != TYPE_CHANGE {
            return Err(malformed(format!("chunk type {kind}, only uncompressed changes (1) are taken")));
        }
        if self.length()? != self.0.len() {
            return Err(malformed("its length does not match its header"));
        }
        Ok(checksum)
    }

    /// A LEB128 number's low seven bits per byte, and how many bits they are.
    fn groups(&mut self) -> Result<(u128, u32, bool), Error> {
        let (mut value, mut bits) = (0_u128, 0);
        loop {
            let byte = self.take(1)?[0];
            value |= u128::from(byte & 0x7f) << bits;
            bits += 7;
            if byte & 0x80 == 0 {
                return Ok((value, bits, byte & 0x40 != 0));
            }
            if bits >= 70 {
                return Err(malformed("it has a number of more than 64 bits"));
            }
        }
    }

    fn unsigned(&mut self) -> Result<u64, Error> {
        let (value, _, _) = self.groups()?;
        u64::try_from(value).map_err(|_| malformed("it has a number of more than 64 bits"))
    }

    fn signed(&mut self) -> Result<i64, Error> {
        let (value, bits, negative) = self.groups()?;
        let value = value.cast_signed() - if negative { 1_i128 << bits } else { 0 };
        i64::try_from(value).map_err(|_| malformed("it has a number of more than 64 bits"))
    }

    fn length(&mut self) -> Result<usize, Error> {
        usize::try_from(self.unsigned()?).map_err(|_| malformed("it has a length beyond memory"))
    }

    /// Passes over a list of hashes.
    fn hashes(&mut self, what: &'static str, max: usize) -> Result<(), Error> {
        let count = self.length()?;
        within(what, count, max)?;
        self.take(count * HASH_BYTES).map(|_| ())
    }

    fn actor(&mut self) -> Result<(), Error> {
        let length = self.length()?;
        within("the bytes of an actor's id", length, ACTOR_BYTES_MAX)?;
        self.take(length).map(|_| ())
    }

    /// What a number counts for in a column where each value counts as one.
    fn one(&mut self) -> Result<usize, Error> {
        self.unsigned().map(|_| 1)
    }

    /// What an action counts for where only marks do.
    fn mark(&mut self) -> Result<usize, Error> {
        self.unsigned().map(|action| (action == MARK).into())
    }

    /// What a text counts for: its bytes.
    fn text(&mut self) -> Result<usize, Error> {
        let length = self.length()?;
        self.take(length).map(<[u8]>::len)
    }

    /// The sum over a run-length encoded column: a positive count and one value, a negative count and as many values,
    /// or 0 and a count of nulls, which count as one each where a value would.
    fn total(mut self, value: fn(&mut Self) -> Result<usize, Error>) -> Result<usize, Error> {
        let mut total = 0_usize;
        while !self.0.is_empty() {
            let count = self.signed()?;
            let times =
                usize::try_from(count.unsigned_abs()).map_err(|_| malformed("it has a length beyond memory"))?;
            let added = match count {
                1.. => value(&mut self)?.saturating_mul(times),
                0 => self.length()?,
                _ => {
                    let mut sum = 0_usize;
                    for _ in 0..times {
                        sum = sum.saturating_add(value(&mut self)?);
                    }
                    sum
                }
            };
            total = total.saturating_add(added);
        }
        Ok(total)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use automerge::transaction::Transactable;
    use automerge::{Automerge, ROOT};

    use super::*;

    /// A chunk of a type, around a body.
    pub(in super::super) fn chunk_of(kind: u8, body: &[u8]) -> Vec<u8> {
        chunk(&[&MAGIC[..], &[0; 4]].concat(), kind, body)
    }

    fn written() -> Vec<u8> {
        let mut document = Automerge::new();
        let mut transaction = document.transaction();
        for at in 0..40 {
            transaction.put(ROOT, format!("field {at}"), at).unwrap();
        }
        transaction.commit();
        document.get_changes(&[])[0].raw_bytes().to_vec()
    }

    #[test]
    fn what_automerge_writes_is_taken() {
        assert_eq!(decode(&written()).unwrap().len(), 40);
    }

    #[test]
    fn a_name_is_read_without_the_rest() {
        let chunk = written();
        let (named, change) = (named(&chunk).unwrap(), decode(&chunk).unwrap());
        assert_eq!((named.hash, named.dependencies), (change.hash(), change.deps().to_vec()));
    }

    #[test]
    fn damage_is_refused() {
        let chunk = written();
        for length in 0..chunk.len() {
            assert!(decode(&chunk[..length]).is_err(), "{length} bytes");
        }
        for at in 0..chunk.len() {
            let mut damaged = chunk.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err() && named(&damaged).is_err(), "byte {at}");
        }
    }

    #[track_caller]
    fn check_refused(column: u64, data: &[u8], expected: &str) {
        let byte = |number: usize| u8::try_from(number).unwrap();
        // No dependencies, actor 07, sequence, start, time, no message, no other actors, one column.
        let mut body = vec![0, 1, 7, 1, 1, 0, 0, 0, 1];
        let (low, high) = (byte(usize::try_from(column).unwrap() & 0xff), column >> 7);
        body.extend(if high == 0 { vec![low] } else { vec![low | 0x80, 1] });
        body.push(byte(data.len()));
        body.extend(data);
        let mut chunk = [&MAGIC[..], &[0; 4], &[TYPE_CHANGE, byte(body.len())]].concat();
        chunk.extend(body);
        assert_eq!(look_through(&chunk).unwrap_err().to_string(), expected);
    }

    #[test]
    fn runs_that_stand_for_too_much_are_refused() {
        let billion = [0x80, 0x94, 0xeb, 0xdc, 0x03];
        let run = |value: &[u8]| [&billion[..], value].concat();
        let change = |what: &str, max: usize| format!("{what} would be 1000000000, the limit is {max}");
        check_refused(ACTION, &run(&[1]), &change("a change's operations", CHANGE_OPERATIONS_MAX));
        check_refused(ACTION, &[&[0][..], &billion].concat(), &change("a change's operations", CHANGE_OPERATIONS_MAX));
        check_refused(PREDECESSORS, &run(&[1]), &change("a change's predecessors", CHANGE_OPERATIONS_MAX));
        check_refused(KEY_STRING, &run(&[1, b'a']), &change("the names of a change's fields", CHANGE_NAME_BYTES_MAX));
        check_refused(MARK_NAME, &run(&[1, b'a']), &change("the names of a change's fields", CHANGE_NAME_BYTES_MAX));
        check_refused(ACTION | DEFLATED, &[], "a change cannot be read: it has a compressed column");
    }

    #[test]
    fn compressed_and_document_chunks_are_refused() {
        let mut document = Automerge::new();
        let mut transaction = document.transaction();
        transaction.put(ROOT, "long", "x".repeat(2_000)).unwrap();
        transaction.commit();
        let compressed = document.get_changes(&[])[0].bytes().into_owned();
        for (chunk, kind) in [(document.save(), 0), (compressed, 2)] {
            let expected =
                format!("a change cannot be read: chunk type {kind}, only uncompressed changes (1) are taken");
            assert_eq!(decode(&chunk).unwrap_err().to_string(), expected);
        }
    }
}
