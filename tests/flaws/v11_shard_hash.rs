//! V11: shards were selected with a hasher that differs between builds. Every implementation of the same rule must agree
//! with vectors computed with an independent SipHash-2-4; std's hashers do not promise any value, and fail.

use std::hash::{BuildHasher, Hash, Hasher};

use skerry_model::ids::shard_of;

const SHARDS: u16 = 8;

/// Collection, key and shard.
const VECTORS: [(&str, &str, u16); 6] = [
    ("items", "lantern", 5),
    ("items", "rope", 3),
    ("stock", "tide-table", 5),
    ("a", "b", 3),
    ("regions", "FR-75", 6),
    ("items", "ü", 3),
];

fn ours(collection: &str, key: &str) -> u16 {
    shard_of(&collection.parse().unwrap(), &key.parse().unwrap(), SHARDS).get()
}

mod flawed {
    use super::*;

    fn shard(mut hasher: impl Hasher, collection: &str, key: &str) -> u16 {
        (collection, key).hash(&mut hasher);
        u16::try_from(hasher.finish() % u64::from(SHARDS)).unwrap()
    }

    #[expect(clippy::disallowed_types, reason = "the flaw itself")]
    pub(super) fn by_default_hasher(collection: &str, key: &str) -> u16 {
        shard(std::hash::DefaultHasher::new(), collection, key)
    }

    #[expect(clippy::disallowed_types, reason = "the flaw itself")]
    pub(super) fn by_random_state(collection: &str, key: &str) -> u16 {
        shard(std::hash::RandomState::new().build_hasher(), collection, key)
    }
}

fn check(shard: fn(&str, &str) -> u16) -> Result<(), String> {
    for (collection, key, expected) in VECTORS {
        let found = shard(collection, key);
        if found != expected {
            return Err(format!("{collection}/{key} is in shard {found}, not {expected}"));
        }
    }
    Ok(())
}

#[test]
fn shards_are_the_same_in_every_build() {
    check(ours).unwrap();
    check(flawed::by_default_hasher).unwrap_err();
    // By luck a random hasher may meet all vectors, once in 262,144 times.
    check(flawed::by_random_state).and_then(|()| check(flawed::by_random_state)).unwrap_err();
}
