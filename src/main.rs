//! The `rota` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    rota::cli::main()
}
