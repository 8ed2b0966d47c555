//! The audit of plugins: followers compute views again that a leader has logged. A difference is an alarm, with the input
//! kept, and no split: what was logged stands.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use skerry_model::engine::MergeDocument;
use skerry_model::{CollectionName, Ordinal, PluginDigest, VersionId};
use skerry_store::{Direction, Limit};

use super::Node;
use super::shard::Shard;
use crate::documents::evaluate::{Context, Health, Subject, diverges};
use crate::documents::keys::feed;
use crate::documents::read;
use crate::env::executor::compute;
use crate::limits::{AUDIT_INPUTS_MAX, AUDIT_PAUSE, FEED_STEP};

/// How much a node audits.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// One version of so many is computed again.
    pub one_in: u32,
    /// The folder that keeps the inputs on which replicas disagree; none keeps them nowhere.
    pub inputs: Option<PathBuf>,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { one_in: 100, inputs: None }
    }
}

/// What a node's audit has found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    options: AuditOptions,
    audited: AtomicU64,
    divergences: AtomicU64,
}

impl Audit {
    pub(crate) fn new(options: AuditOptions) -> Self {
        Self { options, ..Self::default() }
    }
}

impl Node {
    /// How many views this node has computed again, and how many of these were others than the leader's.
    #[must_use]
    pub fn audited(&self) -> (u64, u64) {
        let audit = &self.0.audit;
        (audit.audited.load(Ordering::Relaxed), audit.divergences.load(Ordering::Relaxed))
    }

    /// Audits a shard's new versions while this node follows. Runs until the node stops.
    pub(super) async fn audit(self, shard: Arc<Shard>) {
        let mut progress = shard.state.watch();
        let end = |scn, index| VersionId { scn, ordinal: Ordinal { index, position: u32::MAX } };
        let mut after = end(progress.borrow().scn, progress.borrow().index);
        let mut count = 0_u32;
        while progress.changed().await.is_ok() {
            let reached = *progress.borrow_and_update();
            let found = shard.state.store().scan(&feed::after(after), Limit::rows(FEED_STEP), Direction::Forward);
            let Ok(entries) = found else { continue };
            // Whoever cannot keep up audits what is newest.
            let behind = entries.len() == FEED_STEP;
            for (key, row) in entries {
                let (Ok(version), Ok(entry)) = (feed::decode_key(&key), feed::decode(&row)) else { continue };
                after = version;
                count = count.wrapping_add(1);
                if !shard.raft.is_leader() && count.is_multiple_of(self.0.audit.options.one_in.max(1)) {
                    self.audit_version(&shard, version, entry).await;
                }
            }
            if behind {
                after = end(reached.scn, reached.index);
            }
            tokio::time::sleep(AUDIT_PAUSE).await;
        }
    }

    async fn audit_version(&self, shard: &Shard, version: VersionId, entry: feed::Entry) {
        let feed::Entry { collection: id, key, epoch } = entry;
        let context = Context { health: Arc::<Health>::default(), ..self.context(shard) };
        let Some((name, collection)) = context.catalog.collection_by_id(id) else { return };
        let (name, collection, rows) = (name.clone(), collection.clone(), shard.state.store());
        let active = context.catalog.digest(&collection.policy);
        let is_newest =
            || matches!(read::head(&rows, id, &key), Ok(Some(head)) if head.version == version && head.live);
        let judged_by = read::version(&rows, id, &key, epoch, version).ok().and_then(|seen| seen.version.plugin);
        let Some(digest) = judged_by.filter(|_| judged_by == active && is_newest()) else { return };
        let job = {
            let (rows, key) = (shard.state.store(), key.clone());
            move || {
                let (subject, _) = Subject::load(&rows, &context, &collection, &key, None).ok()?;
                let differs = diverges(&context, &collection, &subject).ok()?;
                Some((differs, subject.document().filter(|_| differs).map(input)))
            }
        };
        let Some(Some((differs, input))) = compute(&*self.0.executor, job).await else { return };
        // What came meanwhile was not looked at.
        if !is_newest() {
            return;
        }
        self.0.audit.audited.fetch_add(1, Ordering::Relaxed);
        if differs {
            self.0.audit.divergences.fetch_add(1, Ordering::Relaxed);
            tracing::error!(collection = %name, %key, %digest, %version, "this node's plugin decides otherwise than the leader's");
            self.keep_input(&name, digest, version, input.flatten());
        }
    }

    /// Keeps what the plugin was handed, for `skerry plugin try`.
    fn keep_input(
        &self,
        name: &CollectionName,
        digest: PluginDigest,
        version: VersionId,
        input: Option<serde_json::Value>,
    ) {
        let (Some(folder), Some(input)) = (&self.0.audit.options.inputs, input) else { return };
        let written = || -> std::io::Result<()> {
            std::fs::create_dir_all(folder)?;
            if std::fs::read_dir(folder)?.count() >= AUDIT_INPUTS_MAX {
                return Ok(());
            }
            let digest = digest.to_string();
            let path = folder.join(format!("{name}-{}-{version}.json", &digest[..16]));
            tracing::error!(path = %path.display(), "kept what the plugin was handed: see skerry plugin try");
            std::fs::write(path, format!("{input:#}\n"))
        };
        if let Err(error) = written() {
            tracing::error!(%error, "what the plugin was handed is not kept");
        }
    }
}

/// What a plugin is handed of a document, as an example file has it.
fn input(document: &dyn MergeDocument) -> Option<serde_json::Value> {
    match document.state() {
        Ok(Some(state)) => Some(json!({ "state": hex::encode(state) })),
        _ => document.conflicts().ok().map(|set| json!({ "conflicts": set.conflicts })),
    }
}
