//! The messages of automerge-repo's WebSocket protocol, version 1, in CBOR, as the README of
//! `@automerge/automerge-repo-network-websocket` describes them. The sync messages inside are Automerge's own.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::bounded;
use crate::limits::{CLIENT_NAME_CHARS_MAX, CLIENT_VERSIONS_MAX};

/// The protocol version that both sides must name.
pub const PROTOCOL: &str = "1";

/// What a client says. Messages that this protocol has and a core node does not need are [`FromClient::Other`], as are those
/// that later versions of it may bring.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    /// Who it is; its first message.
    Join {
        /// The client, for as long as its process lasts.
        sender: String,
        /// The protocol versions that it speaks.
        versions: Vec<String>,
    },
    /// It begins with a document that it does not have.
    Request(Said),
    /// It goes on with a document.
    Sync(Said),
    /// Something for the others that have a document open, and for nobody later.
    Ephemeral(Ephemeral),
    /// It is about to go.
    Leave,
    /// Anything else.
    Other,
}

/// A sync message about one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The document, in base58check.
    pub document: String,
    /// The message of Automerge's sync protocol.
    pub data: Vec<u8>,
}

/// Something for the others that have a document open.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ephemeral {
    /// The client that says it.
    pub sender_id: String,
    /// Who is to hear it.
    pub target_id: String,
    /// Which message of its session it is.
    pub count: u64,
    /// The session.
    pub session_id: String,
    /// The document, in base58check.
    pub document_id: String,
    /// What it is; theirs alone to read.
    pub data: ByteBuf,
}

/// What a core node says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum FromCore<'a> {
    /// Who it is; the answer to `join`.
    Peer {
        /// The node, for as long as the connection lasts.
        sender_id: &'a str,
        /// The client.
        target_id: &'a str,
        /// The protocol version of the connection.
        selected_protocol_version: &'a str,
        /// What it holds.
        peer_metadata: Metadata<'a>,
    },
    /// A sync message about one document.
    Sync {
        /// The node.
        sender_id: &'a str,
        /// The client.
        target_id: &'a str,
        /// The document, in base58check.
        document_id: &'a str,
        /// The message of Automerge's sync protocol.
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
    },
    /// There is no such document.
    DocUnavailable {
        /// The node.
        sender_id: &'a str,
        /// The client.
        target_id: &'a str,
        /// The document, in base58check.
        document_id: &'a str,
    },
    /// What another client says to those that have a document open.
    Ephemeral(Ephemeral),
    /// What was refused, or why the connection ends.
    Error {
        /// The node.
        sender_id: &'a str,
        /// The client.
        target_id: &'a str,
        /// Why, in one sentence.
        message: &'a str,
    },
}

/// What a client may remember of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The line of history: what a client and one node agreed about, all nodes of it have.
    pub storage_id: &'a str,
    /// Whether it is gone when the process is.
    pub is_ephemeral: bool,
}

/// What is no message of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("not a message of automerge-repo's protocol: {reason}")]
    Malformed {
        /// What was found.
        reason: String,
    },
    /// A field is not there.
    #[error("the message lacks {field}")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A name is too long.
    #[error("{field} is longer than {CLIENT_NAME_CHARS_MAX} characters")]
    TooLong {
        /// Which.
        field: &'static str,
    },
}

/// The fields of every message; what is not named here is passed over without being kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(rename = "type")]
    kind: String,
    sender_id: Option<String>,
    target_id: Option<String>,
    #[serde(default, deserialize_with = "bounded::optional::<CLIENT_VERSIONS_MAX, _, _>")]
    supported_protocol_versions: Option<Vec<String>>,
    document_id: Option<String>,
    session_id: Option<String>,
    count: Option<u64>,
    data: Option<ByteBuf>,
}

impl FromClient {
    /// A message from outside.
    ///
    /// # Errors
    /// [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let read = ciborium::from_reader(bytes);
        let fields: Fields = read.map_err(|error| Error::Malformed { reason: error.to_string() })?;
        let sender = named("senderId", fields.sender_id);
        let document = named("documentId", fields.document_id);
        let data = fields.data.map(ByteBuf::into_vec).ok_or(Error::Missing { field: "data" });
        Ok(match &*fields.kind {
            "join" => Self::Join { sender: sender?, versions: fields.supported_protocol_versions.unwrap_or_default() },
            "request" => Self::Request(Said { document: document?, data: data? }),
            "sync" => Self::Sync(Said { document: document?, data: data? }),
            "ephemeral" => Self::Ephemeral(Ephemeral {
                sender_id: sender?,
                target_id: named("targetId", fields.target_id)?,
                count: fields.count.ok_or(Error::Missing { field: "count" })?,
                session_id: named("sessionId", fields.session_id)?,
                document_id: document?,
                data: ByteBuf::from(data?),
            }),
            "leave" => Self::Leave,
            _ => Self::Other,
        })
    }
}

/// A field that must be there.
fn named(field: &'static str, name: Option<String>) -> Result<String, Error> {
    let name = name.ok_or(Error::Missing { field })?;
    if name.chars().count() > CLIENT_NAME_CHARS_MAX { Err(Error::TooLong { field }) } else { Ok(name) }
}

impl FromCore<'_> {
    /// The bytes of a WebSocket message.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("messages serialize, and memory takes every write");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use ciborium::Value;

    use super::*;

    /// What `cbor-x`, as automerge-repo 2.5.6 sets it up, makes of messages.
    const JOIN: &str = "b900046474797065646a6f696e6873656e646572496466706565722d316c706565724d65746164617461b900026973746f72616765496461736b6973457068656d6572616cf47819737570706f7274656450726f746f636f6c56657273696f6e73816131";
    const SYNC: &str = "b9000564747970656473796e6368746172676574496464636f72656a646f63756d656e744964781c32634676484567666252534568426775526e5676547a7a39487365366873656e646572496466706565722d31646461746143010203";

    #[test]
    fn messages_of_javascript_are_read() {
        let documented = include_str!("../../../docs/sync.md").lines().map(str::trim).collect::<String>();
        assert!([JOIN, SYNC].iter().all(|message| documented.contains(message)), "docs/sync.md lacks {JOIN} or {SYNC}");
        let join = FromClient::decode(&hex::decode(JOIN).unwrap()).unwrap();
        assert_eq!(join, FromClient::Join { sender: "peer-1".to_owned(), versions: vec!["1".to_owned()] });
        let sync = FromClient::decode(&hex::decode(SYNC).unwrap()).unwrap();
        let said = Said { document: "2cFvHEgfbRSEhBguRnVvTzz9Hse6".to_owned(), data: vec![1, 2, 3] };
        assert_eq!(sync, FromClient::Sync(said));
    }

    #[test]
    fn types_of_later_versions_are_passed_over_and_what_is_no_message_is_not() {
        let encode = |value: Value| {
            let mut bytes = Vec::new();
            ciborium::into_writer(&value, &mut bytes).unwrap();
            bytes
        };
        let typed = |kind: &str| encode(Value::Map(vec![("type".into(), kind.into())]));
        assert_eq!(FromClient::decode(&typed("gossip")).unwrap(), FromClient::Other);
        assert_eq!(FromClient::decode(&typed("leave")).unwrap(), FromClient::Leave);
        for bad in [typed("sync"), encode(Value::Null), Vec::new(), vec![0xbf], encode(Value::Map(Vec::new()))] {
            assert!(FromClient::decode(&bad).is_err(), "{bad:?}");
        }
        let join = |sender: String, versions: usize| {
            encode(Value::Map(vec![
                ("type".into(), "join".into()),
                ("senderId".into(), sender.into()),
                ("supportedProtocolVersions".into(), Value::Array(vec!["1".into(); versions])),
            ]))
        };
        let long = FromClient::decode(&join("x".repeat(CLIENT_NAME_CHARS_MAX + 1), 1));
        assert_eq!(long, Err(Error::TooLong { field: "senderId" }));
        assert!(FromClient::decode(&join("x".to_owned(), CLIENT_VERSIONS_MAX + 1)).is_err());
    }
}
