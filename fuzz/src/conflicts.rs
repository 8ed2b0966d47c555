//! Conflicts as JSON text, decided by the resolvers that come with Skerry.

use std::sync::LazyLock;

use skerry_model::policy::ConflictSet;
use skerry_runtime::standard::{CALENDAR_BOOKING, MULTI_VALUE, STOCK};

use crate::contract::Both;

static RESOLVERS: LazyLock<[Both; 3]> =
    LazyLock::new(|| [STOCK, MULTI_VALUE, CALENDAR_BOOKING].map(|bundled| Both::new(bundled.component)));

/// Hands the conflicts to each resolver.
///
/// # Panics
/// When an answer breaks the contract, or when the back ends differ.
pub fn check(text: &[u8]) {
    let Ok(conflicts) = serde_json::from_slice::<ConflictSet>(text) else { return };
    RESOLVERS.iter().for_each(|resolver| resolver.check(&conflicts));
}
