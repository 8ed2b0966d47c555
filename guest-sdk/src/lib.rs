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
//! A merge policy defines a kind of document of its own, and is a type too:
//!
//! ```
//! use skerry_guest::{Context, MergePolicy, Value, json};
//!
//! /// Who has signed: names are only ever added.
//! struct Signatures;
//!
//! impl MergePolicy for Signatures {
//!     type State = std::collections::BTreeSet<String>;
//!     type Operation = String;
//!
//!     fn apply(names: &mut Self::State, name: String, _: &Context) -> Result<(), String> {
//!         names.insert(name);
//!         Ok(())
//!     }
//!
//!     fn merge(names: &mut Self::State, others: Self::State) {
//!         names.extend(others);
//!     }
//!
//!     fn view(names: &Self::State) -> Value {
//!         json!({ "signed": names })
//!     }
//!
//!     fn examples() -> Vec<Value> {
//!         vec![json!("ann"), json!("bo")]
//!     }
//! }
//!
//! skerry_guest::merge_policy!(Signatures);
//! ```
//!
//! Equal conflicts must give equal resolutions everywhere: `std::collections::HashMap` is seeded from addresses, so use
//! `BTreeMap`. A panic is a trap: the conflict stays open and the view takes the built-in order. The contract itself is
//! `plugins/wit`.

mod export;
mod export_policy;
#[cfg(not(target_arch = "wasm32"))]
pub mod laws;
mod laws_test;
mod policy;
mod resolver;

pub use export::Export;
pub use export_policy::ExportPolicy;
pub use policy::{Context, MergePolicy};
pub use resolver::{Candidate, Choice, Conflict, Note, Resolution, Resolver, Wants};
pub use serde;
pub use serde_json::{self, Value, json};

/// The largest integer that a document can hold, 2^53 - 1; the smallest is its negative.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// What `plugins/wit` says, in Rust. Authors have no need of it.
#[doc(hidden)]
#[allow(unsafe_code, reason = "wit-bindgen's conversions are unsafe; nothing else is in this module")]
#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(clippy::allow_attributes_without_reason, clippy::missing_errors_doc, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({ path: "../plugins/wit", world: "resolver", pub_export_macro: true });
}

/// The same for the other world.
#[doc(hidden)]
#[allow(unsafe_code, reason = "wit-bindgen's conversions are unsafe; nothing else is in this module")]
#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::too_many_arguments,
    reason = "generated"
)]
pub mod policy_bindings {
    wit_bindgen::generate!({
        path: "../plugins/wit",
        world: "merge-policy",
        pub_export_macro: true,
        export_macro_name: "export_policy",
    });
}
