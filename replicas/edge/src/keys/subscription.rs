//! What this edge holds, and what it is about to. One row.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_channel::subscription::Subscription;

use super::{Error, Kind, decode_value, encode_value};

const ROW: &str = "subscription";

/// What this edge holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subscribed {
    /// What was asked for.
    pub(crate) wanted: Subscription,
    /// What the main cursors are of: all that is wanted but for what is still to join.
    pub(crate) held: Subscription,
    /// What is copied and then joins.
    pub(crate) joining: Option<Subscription>,
    /// Whether documents may be here that are no longer wanted.
    pub(crate) leaving: bool,
}

impl Subscribed {
    /// From the beginning.
    pub(crate) fn to(wanted: Subscription) -> Self {
        Self { held: wanted.clone(), wanted, joining: None, leaving: false }
    }
}

pub(crate) fn key() -> Bytes {
    Kind::Subscription.alone()
}

pub(crate) fn encode(subscribed: &Subscribed) -> Bytes {
    encode_value(subscribed)
}

pub(crate) fn decode(value: &Bytes) -> Result<Subscribed, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::check_golden;

    #[test]
    fn golden() {
        let subscribed = Subscribed { joining: Some(Subscription::All), ..Subscribed::to(Subscription::All) };
        check_golden(&key(), "05");
        check_golden(
            &encode(&subscribed),
            "01a46677616e74656463416c6c6468656c6463416c6c676a6f696e696e6763416c6c676c656176696e67f4",
        );
        assert_eq!(decode(&encode(&subscribed)).unwrap(), subscribed);
    }
}
