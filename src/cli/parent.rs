//! Processes that must not outlive the one that started them: it holds the other end of their standard input, and the
//! system closes that end however it dies.

use std::io::Read as _;
use std::process::Stdio;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Resolves when standard input ends. Reads on a thread of its own, which does not keep the process alive.
pub(crate) async fn gone() {
    let (ended, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let mut scratch = [0; 64];
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut scratch), Ok(read) if read > 0) {}
        // Nobody waits any more when the process is on its way out already.
        let _ = ended.send(());
    });
    // The sender is dropped only after it has sent, or when the thread could not run: both mean the end.
    let _ = wait.await;
}

/// Runs `program` and kills it once this process is told to stop or its own parent is gone. For programs that do not
/// watch their parent themselves.
///
/// # Errors
///
/// When the program cannot be started.
pub(crate) async fn supervise(program: &str, arguments: &[String]) -> std::io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        status = child.wait() => return status.map(|_| ()),
        () = gone() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    child.kill().await
}
