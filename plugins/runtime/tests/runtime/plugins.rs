//! The cache of compiled plugins.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use skerry_model::PluginDigest;
use skerry_runtime::limits::PLUGINS_COMPILED_MAX;
use skerry_runtime::{CompiledPlugin, Error, Plugins, Runtime, RuntimeProfile};

use crate::guest::{Choice, Guest};

fn plugins() -> Plugins {
    Plugins::new(Runtime::new(RuntimeProfile::newest()).unwrap())
}

fn component() -> Bytes {
    Guest::default().bytes().into()
}

#[test]
fn a_version_is_loaded_and_compiled_once() {
    let plugins = plugins();
    let digest = PluginDigest::of(&component());
    let first = plugins.get(digest, || Some(component())).unwrap();
    let again = plugins.get(digest, || panic!("loaded twice")).unwrap();
    match (first, again) {
        (CompiledPlugin::Resolver(first), CompiledPlugin::Resolver(again)) => assert!(Arc::ptr_eq(&first, &again)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_stored_is_asked_for_again() {
    let plugins = plugins();
    let digest = PluginDigest::of(&component());
    let missing = plugins.get(digest, || None).unwrap_err();
    assert!(matches!(missing, Error::NotStored { digest: named } if named == digest));
    assert!(plugins.get(digest, || Some(component())).is_ok());
}

#[test]
fn bytes_of_another_version_are_refused() {
    let other = PluginDigest::of(b"other");
    let refused = plugins().get(other, || Some(component())).unwrap_err();
    assert!(
        matches!(refused, Error::Digest { expected, found } if expected == other && found == PluginDigest::of(&component()))
    );
}

#[test]
fn threads_that_want_the_same_version_compile_it_once() {
    let plugins = plugins();
    let digest = PluginDigest::of(&component());
    let loads: usize = std::thread::scope(|scope| {
        let get = || {
            let loads = Cell::new(0);
            plugins
                .get(digest, || {
                    loads.set(loads.get() + 1);
                    Some(component())
                })
                .unwrap();
            loads.get()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(loads, 1);
}

/// Everything asked for so far is compiled again only if it had to go.
#[test]
fn compiled_plugins_are_bounded() {
    let plugins = plugins();
    let versions: Vec<Bytes> = (0..2 * PLUGINS_COMPILED_MAX)
        .map(|at| Guest::answering(&[Choice::Value(&at.to_string())], &[]).bytes().into())
        .collect();
    let kept =
        versions.iter().map(|component| plugins.get(PluginDigest::of(component), || Some(component.clone())).unwrap());
    let kept: Vec<_> = kept.collect();
    let still = versions.iter().filter(|component| plugins.get(PluginDigest::of(component), || None).is_ok());
    assert!((1..=PLUGINS_COMPILED_MAX).contains(&still.count()));
    assert!(kept[0].clone().resolver().unwrap().resolve(&crate::guest::one_conflict()).is_ok());
}
