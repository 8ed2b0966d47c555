//! The `skerry-edge` command line, built for the tests.

fn main() -> std::process::ExitCode {
    skerry_edge::cli::main()
}
