//! Push: the receiver's judgement of a batch against its watermark, and the sender's walk along its outbox.

pub mod receiver;
pub mod sender;
