//! How an agent is told to stop: by a signal, or by the end of its parent. A thread of its own waits for that, with a runtime of
//! its own, so that whatever hangs elsewhere does not keep the process.

use crate::cli::exit_code;
use crate::cli::parent;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How long an agent may take to stop: the budget of its tasks, and as long again as it takes to end them. Beyond that it is
/// ended as it is, which loses nothing that it has signed or promised.
const BUDGET: Duration = Duration::from_secs(12);

/// Waits for the word to stop and hands it to `shutdown`. If the process is still there after that, or is told again, it
/// ends at once, with an exit code that says so.
///
/// # Errors
///
/// When no thread can be started, or the system takes no signal handler.
pub(super) fn listen(shutdown: CancellationToken, exit_with_parent: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let waiting = move || {
        let reason = runtime.block_on(async {
            let parent =
                async { if exit_with_parent { parent::gone().await } else { pending().await } };
            tokio::select! {
                reason = told(&mut terminate, &mut interrupt) => reason,
                () = parent => "parent ended",
            }
        });
        // First of all, and no word from here before the time runs: whoever writes logs may be what hangs.
        shutdown.cancel();
        let _ = std::thread::Builder::new().spawn(move || info!(reason, "stopping"));
        runtime.block_on(async {
            let again = told(&mut terminate, &mut interrupt);
            let _ = tokio::time::timeout(BUDGET, again).await;
        });
        exit_code::end_now(exit_code::NOT_STOPPED, "it did not stop in time");
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(waiting).map(|_| ())
}

async fn told(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
