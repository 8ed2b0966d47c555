//! Why a runtime cannot be made or a component is refused, and why a call gave nothing.

use skerry_model::PluginDigest;
use skerry_model::policy::PluginError;

/// Why a runtime cannot be made, or why a component is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile is for another wasmtime.
    #[error("runtime profile {profile} is for wasmtime {expected}, this is wasmtime {found}")]
    Wasmtime {
        /// The profile's name.
        profile: String,
        /// The major version it names.
        expected: u32,
        /// The major version that is built in.
        found: u32,
    },
    /// The profile's cost table and this wasmtime's operators differ.
    #[error("runtime profile {profile} gives a cost to operators that do not exist, twice, or not at all: {operators}")]
    OperatorCosts {
        /// The profile's name.
        profile: String,
        /// The operators, by name.
        operators: String,
    },
    /// Wasmtime refused the profile.
    #[error("runtime profile {profile} does not work here: {reason}")]
    Profile {
        /// The profile's name.
        profile: String,
        /// What wasmtime says.
        reason: String,
    },
    /// The system gave no thread for the alarm.
    #[error("no thread for the wall-clock alarm of plugins")]
    Thread(#[source] std::io::Error),
    /// The component is over the size limit.
    #[error("the component is {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not a component, or one that uses what the profile does not allow.
    #[error("not a WebAssembly component that may run here: {reason}")]
    Invalid {
        /// What the validator says.
        reason: String,
    },
    /// The component asks for something from outside.
    #[error("the component imports {import}: a plugin may import nothing but types")]
    Import {
        /// The import, by name.
        import: String,
    },
    /// The component is no plugin.
    #[error("the component does not export one of the worlds of skerry:plugin@1.0.0: {reason}")]
    World {
        /// What is missing or different.
        reason: String,
    },
    /// The plugin does not describe itself.
    #[error("{function}() gave no answer: {reason}")]
    Describe {
        /// What was called.
        function: &'static str,
        /// What it did, in a sentence that names the limit.
        reason: String,
    },
    /// The merge policy's encoding has no version.
    #[error("state-version() gives 0, versions count from 1")]
    StateVersion,
    /// The resolver wants what it cannot have.
    #[error("describe() asks for {found} paths, the limit is {max}")]
    Paths {
        /// How many it asks for.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A path that the resolver asks for is no JSON Pointer within the limits.
    #[error("describe() asks for {path:?}, which is not a JSON Pointer of at most {max} bytes")]
    Path {
        /// Its beginning.
        path: String,
        /// The limit.
        max: usize,
    },
    /// This host could not run it now.
    #[error("the component cannot run here now: {reason}")]
    Host {
        /// What was missing.
        reason: String,
    },
    /// Nobody has the bytes of this version.
    #[error("plugin {digest} is not stored here")]
    NotStored {
        /// The version.
        digest: PluginDigest,
    },
    /// The bytes that were stored for a version are others.
    #[error("what is stored as plugin {expected} has the digest {found}")]
    Digest {
        /// The version that was asked for.
        expected: PluginDigest,
        /// What the bytes are.
        found: PluginDigest,
    },
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The plugin's own words, cut at their limit.
    Refused(String),
    /// The plugin's own fault, the same on every replica.
    Plugin(String),
    /// This host's.
    Host(String),
}

impl Failure {
    /// Of a function that describes the plugin.
    pub(crate) fn of(self, function: &'static str) -> Error {
        match self {
            Self::Refused(reason) | Self::Plugin(reason) => Error::Describe { function, reason },
            Self::Host(reason) => Error::Host { reason },
        }
    }

    /// Of a call to a plugin.
    pub(crate) fn by(self, digest: PluginDigest) -> PluginError {
        match self {
            Self::Refused(reason) => PluginError::Refused { reason },
            Self::Plugin(reason) => PluginError::Plugin { digest, reason },
            Self::Host(reason) => PluginError::Host { digest, reason },
        }
    }
}

/// The beginning of a text, at most `bytes` long, cut between characters.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
