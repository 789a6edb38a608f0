//! The binary `blobforge`: a thin shell over the library.

fn main() -> std::process::ExitCode {
    blobforge_service::cli::main()
}
