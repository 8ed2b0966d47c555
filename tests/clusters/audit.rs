//! A plugin that is not deterministic is found out: followers compute again what the leader has decided.

use serde_json::json;
use skerry_host::consensus::types::NodeAddress;
use skerry_host::node::Reads;
use skerry_host::server::{self, ServeOptions};
use skerry_model::NodeId;
use skerry_runtime::noise;
use skerry_tests::processes::{free_port, http, metric, run, until};
use tokio_util::sync::CancellationToken;

use super::guest::{Choice, Guest};
use super::requests::{BINARIES, create, write};

/// A resolver that asks a function from outside, which the tests' runtime alone lets it.
fn noisy() -> Vec<u8> {
    let calm = Guest::answering(&[Choice::Value("0")], &[]);
    let digit = calm.answer.len() - 1 + (1 << 16);
    let resolve = format!(
        "i32.const {digit} call $next i32.wrap_i64 i32.const 7 i32.and i32.const 48 i32.add i32.store8 {}",
        calm.resolve
    );
    let imports = [
        format!(
            r#"(import "{}" (instance $noise (export "next" (func (result u64)))))
            (core func $lowered (canon lower (func $noise "next")))"#,
            noise::INTERFACE
        ),
        r#"(import "noise" "next" (func $next (result i64)))"#.to_owned(),
        r#"(with "noise" (instance (export "next" (func $lowered))))"#.to_owned(),
    ];
    Guest { resolve, imports, ..calm }.asking_for_a().bytes()
}

/// Three nodes in this process, whose noise is one.
fn serve(runtime: &tokio::runtime::Runtime, folder: &std::path::Path, stop: &CancellationToken) -> Vec<String> {
    let ports: Vec<_> = (0..3).map(|_| (free_port(), free_port())).collect();
    let local = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let members = ports.iter().zip(1..).map(|((http, node), id)| {
        (NodeId::new(id), NodeAddress { node: local(*node).to_string(), http: format!("http://{}", local(*http)) })
    });
    let members: Vec<_> = members.collect();
    for (at, (http, node)) in ports.iter().enumerate() {
        let options = ServeOptions {
            node: members[at].0,
            http: local(*http),
            node_address: local(*node),
            data: folder.join(format!("core-{at}")),
            bootstrap: at == 0,
            members: members.clone(),
            reads: Reads::default(),
            shards: Some(1),
            audit_one_in: 1,
            rejoin_window: skerry_host::limits::REJOIN_WINDOW,
            origins: Vec::new(),
            tls: None,
        };
        let stop = stop.clone();
        runtime.spawn(async move { server::run(options, stop, || {}).await.unwrap() });
    }
    members.into_iter().map(|(_, address)| address.http).collect()
}

#[test]
fn a_plugin_that_is_not_deterministic_raises_the_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let urls = serve(&runtime, folder.path(), &stop);
    for url in &urls {
        until("the node to serve", || {
            http(&format!("{url}/readyz"), "GET", None).ok().filter(|(status, _)| *status == 204)
        });
    }
    let component = folder.path().join("noisy.wasm");
    std::fs::write(&component, noisy()).unwrap();
    run(BINARIES.skerry, &urls[0], &["plugin", "deploy", "noisy", component.to_str().unwrap()]).unwrap();
    create(&urls[0], "items", "plugin:noisy");
    let audits = |name: &str| urls.iter().map(|url| metric(url, name)).sum::<f64>();
    let conflict = |key: &str| two_writers(&urls[0], folder.path(), key);

    conflict("calm");
    until("an audit", || (audits("skerry_plugin_audited_total") > 0.0).then_some(()));
    assert!(audits("skerry_plugin_divergence_total").abs() < 0.5, "as long as the noise is silent they agree");
    noise::arm();
    conflict("loud");
    until("the alarm", || (audits("skerry_plugin_divergence_total") > 0.0).then_some(()));

    let kept: Vec<_> = (0..3)
        .filter_map(|at| std::fs::read_dir(folder.path().join(format!("core-{at}/divergence"))).ok())
        .flatten()
        .collect();
    let input = kept[0].as_ref().unwrap().path();
    let tried = ["plugin", "try", input.to_str().unwrap(), "--plugin", component.to_str().unwrap()];
    let tried = run(BINARIES.skerry, &urls[0], &tried).unwrap();
    assert!(tried.contains("/a"), "{tried}");
}

/// Two edges write the field that the plugin decides, each before it has heard of the other.
fn two_writers(core: &str, folder: &std::path::Path, key: &str) {
    assert_eq!(write(core, "PUT", "items", key, &json!({ "a": 0 })), 201);
    let edge = |name: &str, value: i32, core: &str| {
        let data = folder.join(name).display().to_string();
        let port = free_port();
        let arguments =
            ["serve", "--replica", name, "--data", &data, "--core", core, "--http", &format!("127.0.0.1:{port}")];
        let process = skerry_tests::processes::Process::start(BINARIES.edge, &arguments.map(str::to_owned));
        let url = format!("http://127.0.0.1:{port}");
        until("the edge", || http(&format!("{url}/healthz"), "GET", None).ok());
        if value > 0 {
            assert_eq!(write(&url, "PATCH", "items", key, &json!({ "a": value })), 200);
        } else {
            let at = format!("{url}/v1/collections/items/documents/{key}");
            until("the document at the edge", || http(&at, "GET", None).ok().filter(|(status, _)| *status == 200));
        }
        (process, url)
    };
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for (name, value) in [("one", 1), ("two", 2)] {
        assert!(edge(name, 0, core).0.stop());
        assert!(edge(name, value, &nowhere).0.stop());
    }
    for name in ["one", "two"] {
        let (_process, url) = edge(name, 0, core);
        until("the edge to be in sync", || {
            let (_, status) = http(&format!("{url}/v1/sync/status"), "GET", None).ok()?;
            (status["unsent"] == 0 && status["connected"] == true).then_some(())
        });
    }
}
