//! The `skerry` command line, built for the tests.

fn main() -> std::process::ExitCode {
    skerry_host::cli::main()
}
