//! Child processes of the development network. Each is in a process group of its own, so that Ctrl-C reaches only the
//! network's process, which then stops them in order; each ends by itself when its standard input closes.

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// What ends a child that is dropped while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The system kills it: also one that hangs is never left behind.
    Killed,
    /// Its standard input closes, at which it ends by itself: it watches over another program, which would be left behind
    /// if it were killed.
    ByItself,
}

/// A running child.
pub(super) struct Child {
    process: Process,
    lifeline: Option<ChildStdin>,
}

impl Child {
    /// Starts a program. Its logs (standard error) go to `log`; its standard output to the same file, unless it is read.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or the log cannot be written.
    pub(super) fn spawn(
        program: &Path,
        arguments: &[String],
        log: &Path,
        read_output: bool,
        ends: Ends,
    ) -> std::io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let output = if read_output { Stdio::piped() } else { log.try_clone()?.into() };
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(ends == Ends::Killed)
            .spawn()?;
        let lifeline = process.stdin.take();
        Ok(Self { process, lifeline })
    }

    /// The standard output, once, if it is read.
    pub(super) fn output(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// Process id; `None` once it ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Stops the program that it watches over, as a machine that hangs would (SIGSTOP), or lets it go on (SIGCONT). The
    /// child itself runs on, and ends that program with its own end.
    ///
    /// # Errors
    ///
    /// When it has ended, or the system tells no children of it (Linux does, in /proc).
    pub(super) fn pause_watched(&self, pause: bool) -> std::io::Result<()> {
        let ended = || std::io::Error::other("the process has ended");
        let id = self.id().ok_or_else(ended)?;
        let watched = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let signal = if pause { "-STOP" } else { "-CONT" };
        let status = std::process::Command::new("kill")
            .arg(signal)
            .args(watched.split_whitespace())
            .status()?;
        if status.success() { Ok(()) } else { Err(ended()) }
    }

    /// Asks it to end, waits for `budget`, then kills it.
    pub(super) async fn stop(&mut self, budget: Duration) {
        drop(self.lifeline.take());
        if timeout(budget, self.process.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Ends it at once, as a power cut would (SIGKILL).
    pub(super) async fn kill(&mut self) {
        // Fails only if the process ended meanwhile, which is what was asked for.
        let _ = self.process.kill().await;
    }
}
