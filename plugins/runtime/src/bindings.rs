//! The worlds of plugins/wit in Rust.

#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::large_futures,
    reason = "generated"
)]
mod generated {
    wasmtime::component::bindgen!({ path: "../wit", world: "resolver" });
}

#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::large_futures,
    reason = "generated"
)]
mod generated_policy {
    wasmtime::component::bindgen!({ path: "../wit", world: "merge-policy" });
}

pub(crate) use generated::ResolverPre;
pub(crate) use generated::skerry::plugin::resolving::{Candidate, Choice, Conflict, Note, Resolution, Wants};
pub(crate) use generated_policy::skerry::plugin::merging::Context;
pub(crate) use generated_policy::{MergePolicy, MergePolicyPre};
