//! The test that an author adds in one line; in a component there is nothing of it.

/// Tests in `cargo test` that a plugin keeps the laws: `laws!(resolver Stock)`, with example conflicts from a folder
/// `laws!(resolver Stock, "conflicts")`, or `laws!(merge_policy MaxRegister)`.
#[macro_export]
macro_rules! laws {
    (resolver $resolver:ty) => {
        $crate::laws!(resolver $resolver, "conflicts");
    };
    (resolver $resolver:ty, $folder:literal) => {
        #[cfg(all(test, not(target_arch = "wasm32")))]
        #[test]
        fn the_laws_hold() {
            let subject = $crate::laws::NativeResolver::<$resolver>::new();
            let examples = $crate::laws::conflicts_in($folder);
            $crate::laws::assert_kept($crate::laws::check_resolver(&subject, &examples, $crate::laws::Effort::TEST));
        }
    };
    (merge_policy $policy:ty) => {
        #[cfg(all(test, not(target_arch = "wasm32")))]
        #[test]
        fn the_laws_hold() {
            let subject = $crate::laws::NativePolicy::<$policy>::new();
            let examples = $crate::laws::PolicyExamples::default();
            $crate::laws::assert_kept($crate::laws::check_policy(&subject, &examples, $crate::laws::Effort::TEST));
        }
    };
}
