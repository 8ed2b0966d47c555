//! What an author of a Skerry plugin uses. A resolver is a type with two functions; it compiles natively too, so that
//! `cargo test` runs its tests like any other crate's:
//!
//! ```
//! use skerry_guest::{Choice, Conflict, Resolution, Resolver, Wants};
//!
//! /// The highest bid wins; between equal ones, the first in canonical order.
//! struct HighestBid;
//!
//! impl Resolver for HighestBid {
//!     fn wants() -> Wants {
//!         Wants::fields(["bid"])
//!     }
//!
//!     fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
//!         let highest = |conflict: &Conflict| {
//!             let bids = conflict.integers().ok_or_else(|| format!("{}: not every bid is an integer", conflict.path))?;
//!             let highest = bids.iter().copied().max().ok_or("no bid")?;
//!             Ok(Choice::value(highest))
//!         };
//!         conflicts.iter().map(highest).collect()
//!     }
//! }
//!
//! skerry_guest::resolver!(HighestBid);
//!
//! let bids = Conflict::at("/bid").candidate("till-1", 40).candidate("till-2", 45);
//! assert_eq!(HighestBid::resolve(&[bids]).unwrap().choices, [Choice::value(45)]);
//! ```
//!
//! Equal conflicts must give equal resolutions everywhere: `std::collections::HashMap` is seeded from addresses, so use
//! `BTreeMap`. A panic is a trap: the conflict stays open and the view takes the built-in order. The contract itself is
//! `plugins/wit`.

mod export;
mod resolver;

pub use export::Export;
pub use resolver::{Candidate, Choice, Conflict, Note, Resolution, Resolver, Wants};
pub use serde_json::{self, Value, json};

/// What `plugins/wit` says, in Rust. Authors have no need of it.
#[doc(hidden)]
#[allow(unsafe_code, reason = "wit-bindgen's conversions are unsafe; nothing else is in this module")]
#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(clippy::allow_attributes_without_reason, clippy::missing_errors_doc, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({ path: "../plugins/wit", world: "resolver", pub_export_macro: true });
}
