//! What the core has confirmed of this edge's chain in a shard; written together with what its verdicts change.

use bytes::Bytes;
use skerry_channel::push::sender::Confirmed;
use skerry_model::ShardId;
use skerry_store::KeyRange;

use super::{Error, Kind, decode_value, encode_value};

const ROW: &str = "confirmed";

pub(crate) fn all() -> KeyRange {
    Kind::Confirmed.all()
}

pub(crate) fn key(shard: ShardId) -> Bytes {
    Kind::Confirmed.of_shard(shard)
}

pub(crate) fn decode_key(key: &[u8]) -> Result<ShardId, Error> {
    Kind::Confirmed.shard(ROW, key)
}

pub(crate) fn encode(confirmed: &Confirmed) -> Bytes {
    encode_value(confirmed)
}

pub(crate) fn decode(value: &Bytes) -> Result<Confirmed, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use skerry_channel::change::Mark;

    use super::*;
    use crate::keys::testing::{check_golden, incarnation};

    #[test]
    fn golden() {
        let shard = ShardId::new(2);
        let mark = Mark::start(&"shop".parse().unwrap(), &incarnation(), shard).then(b"change");
        let confirmed = Confirmed { incarnation: incarnation(), mark };
        check_golden(&key(shard), "210002");
        check_golden(
            &encode(&confirmed),
            "01a26b696e6361726e6174696f6ea2666e756d62657203656e6f6e63655009090909090909090909090909090909646d61726ba26873657175656e63650165636861696e582057a0dfa652ee50a8356e261c05b874d1730020c81238ecb96baee3dc1e739c80",
        );
        assert_eq!(decode_key(&key(shard)).unwrap(), shard);
        assert_eq!(decode(&encode(&confirmed)).unwrap(), confirmed);
    }
}
