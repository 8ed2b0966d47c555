//! A plugin's component, by its digest.

use bytes::Bytes;
use skerry_model::PluginDigest;
use skerry_store::KeyRange;

use super::{Error, Kind, at_end, decode_blob, encode_blob, number};

const ROW: &str = "plugin";

pub(crate) fn all() -> KeyRange {
    Kind::Plugin.all()
}

pub(crate) fn key(digest: &PluginDigest) -> Bytes {
    Kind::Plugin.with(&[digest.as_bytes()])
}

pub(crate) fn decode_key(key: &[u8]) -> Result<PluginDigest, Error> {
    let (digest, rest) = number(ROW, Kind::Plugin.after(ROW, key)?)?;
    at_end(ROW, rest)?;
    Ok(PluginDigest::from_bytes(digest))
}

pub(crate) fn encode(component: &[u8]) -> Bytes {
    encode_blob(component)
}

pub(crate) fn decode(value: &Bytes) -> Result<Bytes, Error> {
    decode_blob(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::check_golden;

    #[test]
    fn golden() {
        let digest = PluginDigest::from_bytes([0xab; 32]);
        check_golden(&key(&digest), &format!("10{}", "ab".repeat(32)));
        check_golden(&encode(b"wasm"), "017761736d");
        assert_eq!(decode_key(&key(&digest)).unwrap(), digest);
        assert_eq!(decode(&encode(b"wasm")).unwrap(), "wasm");
    }
}
