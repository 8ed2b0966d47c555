//! Whole clusters in deterministic simulation; `cargo xtask sim` runs more of it.

#[cfg(test)]
mod seeds {
    use skerry_tests::simulation::{Setup, run};

    /// A seed decides everything: run twice, it delivers the same bytes at the same moments.
    #[test]
    fn one_seed_gives_one_trace() {
        for seed in [1, 2, 3] {
            let traces = [(); 2].map(|()| run(&Setup::of(seed)).unwrap_or_else(|failure| panic!("{failure}")));
            assert_eq!(traces[0].trace, traces[1].trace, "seed {seed}");
            assert!(traces[0].answered > 0);
        }
    }
}
