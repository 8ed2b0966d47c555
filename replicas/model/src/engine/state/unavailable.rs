//! A merge policy whose plugin is not here: documents still take from the core what holds all that they have, and nothing
//! else.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::ids::PluginDigest;
use crate::policy::{MergePolicy, OperationContext, PluginError};

/// Stands for a plugin that cannot run here now.
#[derive(Debug, Clone)]
pub struct Unavailable {
    /// The plugin.
    pub digest: PluginDigest,
    /// What is missing.
    pub reason: String,
}

impl Unavailable {
    fn error<T>(&self) -> Result<T, PluginError> {
        Err(PluginError::Host { digest: self.digest, reason: self.reason.clone() })
    }
}

impl MergePolicy for Unavailable {
    /// None, so that no document is taken for one of the plugin itself.
    fn digest(&self) -> Option<PluginDigest> {
        None
    }

    /// Past every version, so that no state is taken for one in the present encoding.
    fn state_version(&self) -> u32 {
        u32::MAX
    }

    fn empty(&self) -> Result<Bytes, PluginError> {
        self.error()
    }

    fn apply(&self, _: &Bytes, _: &Value, _: &OperationContext<'_>) -> Result<Bytes, PluginError> {
        self.error()
    }

    fn merge(&self, _: &Bytes, _: &Bytes) -> Result<Bytes, PluginError> {
        self.error()
    }

    fn view(&self, _: &Bytes) -> Result<Map<String, Value>, PluginError> {
        self.error()
    }

    fn migrate(&self, _: u32, _: &Bytes) -> Result<Bytes, PluginError> {
        self.error()
    }
}
