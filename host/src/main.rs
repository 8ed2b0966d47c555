//! `skerry`: a core node, and the command line of a cluster.

fn main() -> std::process::ExitCode {
    skerry_host::cli::main()
}
