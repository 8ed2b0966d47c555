//! `skerry`: a core node, and the command line of a cluster.

/// A node is many threads that hand small buffers to each other, where the system's allocator takes turns.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    skerry_host::cli::main()
}
