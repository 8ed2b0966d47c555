//! The mark of a clean stop: there while the edge is down after it closed its database itself. Without it a start takes
//! a new incarnation, since the last writes may have been sent and not kept. One row.

use bytes::Bytes;

use super::{Kind, encode_blob};

pub(crate) fn key() -> Bytes {
    Kind::CleanStop.alone()
}

pub(crate) fn encode() -> Bytes {
    encode_blob(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::check_golden;

    #[test]
    fn golden() {
        check_golden(&key(), "02");
        check_golden(&encode(), "01");
    }
}
