//! Which components are refused before they are ever called.

use proptest::prelude::*;
use skerry_runtime::{Backend, Error, Runtime, RuntimeProfile, standard};

use crate::guest::{Guest, profile};

fn runtime() -> Runtime {
    Runtime::new(RuntimeProfile::newest()).unwrap()
}

#[track_caller]
fn refused(component: &[u8]) -> String {
    runtime().compile_resolver(component).unwrap_err().to_string()
}

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).unwrap()
}

#[test]
fn components_that_import_anything_but_types_are_refused() {
    let clock = text(
        r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#,
    );
    assert_eq!(
        refused(&clock),
        "the component imports `now` of `wasi:clocks/monotonic-clock@0.2.0`: a plugin may import nothing but types"
    );
    let function = text(r#"(component (import "log" (func (param "line" string))))"#);
    assert_eq!(refused(&function), "the component imports `log`: a plugin may import nothing but types");
    let resource = text(r#"(component (import "host:io/streams" (instance (export "stream" (type (sub resource))))))"#);
    assert_eq!(
        refused(&resource),
        "the component imports `stream` of `host:io/streams`: a plugin may import nothing but types"
    );
    let module = text(r#"(component (import "code" (core module)))"#);
    assert_eq!(refused(&module), "the component imports `code`: a plugin may import nothing but types");
}

#[test]
fn an_import_of_types_alone_is_let_in() {
    let types = text(
        r#"(component (import "skerry:plugin/types@1.0.0" (instance (type string) (export "json" (type (eq 0))))))"#,
    );
    assert!(refused(&types).starts_with("the component does not export one of the worlds of skerry:plugin@1.0.0: "));
}

#[test]
fn components_that_are_no_resolvers_are_refused() {
    let start = "the component does not export one of the worlds of skerry:plugin@1.0.0: ";
    let found = refused(&text("(component)"));
    assert_eq!(found, format!("{start}no export `describe` found"));
    let other = text(
        r#"(component
            (core module $guest (func (export "describe") (result i32) i32.const 0) (func (export "resolve")))
            (core instance $instance (instantiate $guest))
            (func (export "describe") (result u32) (canon lift (core func $instance "describe")))
            (func (export "resolve") (canon lift (core func $instance "resolve"))))"#,
    );
    let found = refused(&other);
    assert!(found.starts_with(start) && found.contains("describe"), "{found}");
}

#[test]
fn what_is_no_component_is_refused() {
    let start = "not a WebAssembly component that may run here: ";
    assert!(refused(b"").starts_with(start));
    assert!(refused(b"(component)").starts_with(start), "text is not read");
    assert!(refused(&text("(module)")).starts_with(start));
}

#[test]
fn proposals_that_the_profile_does_not_name_are_refused() {
    for module in [
        "(module (memory 1 1 shared))",
        "(module (memory i64 1))",
        "(module (func (param v128) (result v128) local.get 0 i32x4.relaxed_trunc_f32x4_s))",
        "(module (func $loop return_call $loop))",
        "(module (tag) (func throw 0))",
        "(module (type (struct)))",
        "(module (func (param externref)))",
    ] {
        let found = refused(&text(&format!("(component (core {})", &module[1..])));
        assert!(found.starts_with("not a WebAssembly component that may run here: "), "{module}: {found}");
    }
}

#[test]
fn a_binary_is_bounded() {
    let component = Guest::default().bytes();
    let with = |binary_bytes| Runtime::new(profile(|profile| profile.binary_bytes = binary_bytes)).unwrap();
    assert!(with(component.len()).compile_resolver(&component).is_ok());
    let found = with(component.len() - 1).compile_resolver(&component).unwrap_err().to_string();
    assert_eq!(found, format!("the component is {} bytes, the limit is {}", component.len(), component.len() - 1));
}

#[test]
fn a_truncated_binary_is_refused() {
    let component = Guest::default().bytes();
    let runtime = runtime();
    for length in 0..component.len() {
        // A cut before a custom section, the last of which hold names alone, leaves a whole component.
        let whole = component[length] == 0;
        assert!(whole || runtime.compile_resolver(&component[..length]).is_err(), "{length} of {}", component.len());
    }
    let stock = standard::STOCK.component;
    assert!(runtime.compile_resolver(&stock[..stock.len() - 1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    /// It may compile or not, and do what it likes within the limits; nothing panics.
    #[test]
    fn a_damaged_binary_harms_nobody(at in any::<prop::sample::Index>(), byte: u8) {
        let mut component = Guest::default().bytes();
        let at = at.index(component.len());
        component[at] = byte;
        let profile = profile(|profile| profile.fuel = 100_000);
        if let Ok(resolver) = Runtime::new(profile).unwrap().compile_resolver(&component) {
            drop(resolver.call(&crate::guest::one_conflict()));
        }
    }
}

#[track_caller]
fn check_describe(describe: &str, expected: &str) {
    let guest = Guest { describe: describe.to_owned(), ..Guest::default() };
    let profile = profile(|profile| profile.fuel = 1_000_000);
    for backend in [Backend::Native, Backend::Pulley] {
        assert_eq!(guest.compile(backend, &profile).unwrap_err().to_string(), expected);
    }
}

/// A `describe` that asks for as many paths, all of them the same text.
fn asking(paths: usize, path: &str) -> String {
    let bytes = path.bytes().enumerate();
    let text: String =
        bytes.map(|(at, byte)| format!("(i32.store8 (i32.const {}) (i32.const {byte}))", 1000 + at)).collect();
    let lists = (0..paths).map(|at| 8_000 + 8 * at);
    let list: String = lists
        .map(|at| {
            format!(
                "(i32.store (i32.const {at}) (i32.const 1000)) (i32.store (i32.const {}) (i32.const {}))",
                at + 4,
                path.len()
            )
        })
        .collect();
    format!(
        "{text}{list} (i32.store (i32.const 20) (i32.const 8000)) (i32.store (i32.const 24) (i32.const {paths})) i32.const 16"
    )
}

#[test]
fn what_a_resolver_wants_is_bounded() {
    let wants = |paths, path: &str| {
        let guest = Guest { describe: asking(paths, path), ..Guest::default() };
        let resolver = guest.compile(Backend::Native, &RuntimeProfile::newest()).unwrap();
        skerry_model::policy::Resolver::wants(&resolver).clone()
    };
    assert_eq!(wants(2, "/a~1b/c").paths, ["/a~1b/c", "/a~1b/c"]);
    assert_eq!(wants(64, "").paths.len(), 64);
    assert_eq!(wants(1, &format!("/{}", "x".repeat(1023))).paths.len(), 1);
    check_describe(&asking(65, "/a"), "describe() asks for 65 paths, the limit is 64");
    check_describe(&asking(1, "a"), r#"describe() asks for "a", which is not a JSON Pointer of at most 1024 bytes"#);
    check_describe(
        &asking(1, "/a~2"),
        r#"describe() asks for "/a~2", which is not a JSON Pointer of at most 1024 bytes"#,
    );
    let long = format!("/{}", "x".repeat(1024));
    let expected = format!("describe() asks for {:?}, which is not a JSON Pointer of at most 1024 bytes", &long[..80]);
    check_describe(&asking(1, &long), &expected);
}

#[test]
fn a_describe_that_fails_is_refused() {
    let trapped = "describe() gave no answer: it trapped: it reached code that must not be reached, as a panic does";
    check_describe("unreachable", trapped);
    check_describe(
        "(loop $again br $again) i32.const 16",
        "describe() gave no answer: it ran out of fuel, the limit is 1000000",
    );
}

#[test]
fn a_profile_for_another_wasmtime_is_refused() {
    let error = Runtime::new(profile(|profile| profile.wasmtime = 47)).unwrap_err();
    assert!(matches!(error, Error::Wasmtime { expected: 47, found: 48, .. }));
    let error = Runtime::new(profile(|profile| profile.stack_bytes = 0)).unwrap_err().to_string();
    assert!(error.starts_with("runtime profile 1 does not work here: "), "{error}");
}
