//! How an agent ends when something in its way never gives way: nobody reads what it says, or it hangs.

use crate::operator::{Desk, Running};
use crate::{DEADLINE, beside};
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An agent whose standard error is a pipe.
struct Agent {
    running: Running,
    words: BufReader<PipeReader>,
    mouth: PipeWriter,
}

/// Keeps a pipe full as long as somebody could read from it; returns once it is.
fn fill(mouth: &PipeWriter) {
    let mut mouth = mouth.try_clone().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&written);
    std::thread::spawn(move || {
        while mouth.write_all(&[b'.'; 512]).is_ok() {
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut before = None;
    loop {
        let now = Some(written.load(Ordering::SeqCst));
        if now == before && now != Some(0) {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Agent {
    fn start(desk: &Desk, name: &str, arguments: &[&str], mute: bool) -> Self {
        let (reader, mouth) = std::io::pipe().unwrap();
        if mute {
            fill(&mouth);
        }
        let config = format!("{name}.toml");
        let mut command = desk.command(&["node", "--config", &config, "--exit-with-parent"]);
        command.args(arguments).stdout(Stdio::null()).stderr(mouth.try_clone().unwrap());
        let running = Running::start(&mut command);
        Self { running, words: BufReader::new(reader), mouth }
    }

    /// Reads until it says this.
    fn until_it_says(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.words.read_line(&mut line).unwrap(), 0, "it never said: {words}");
        }
    }

    fn tell_to_stop(&self) {
        let id = self.running.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// The code with which it ends.
    fn ends(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.running.0.try_wait().unwrap() {
                return status.code().unwrap();
            }
            if Instant::now() > deadline {
                self.running.0.kill().unwrap();
                panic!("it did not end within {DEADLINE:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn desk(names: &[&str]) -> Desk {
    let desk = Desk::new();
    for name in names {
        desk.new_key(name);
        desk.settings(name);
    }
    desk.done(&["deploy", "--params", "params.json"]);
    desk
}

#[test]
fn an_agent_whose_words_nobody_takes_ends_when_it_is_told_to() {
    let _seat = beside();
    let desk = desk(&["first", "later"]);
    let mut first = Agent::start(&desk, "first", &[], true);
    let mut later = Agent::start(&desk, "later", &[], false);
    later.until_it_says("agent runs");
    fill(&later.mouth);
    for agent in [&mut first, &mut later] {
        agent.tell_to_stop();
        assert_eq!(agent.ends(), 11);
    }
}

#[cfg(feature = "byzantine")]
#[test]
fn an_agent_that_hangs_ends_whether_or_not_anybody_reads_why() {
    let _seat = beside();
    let desk = desk(&["heard", "unheard", "told"]);
    let [mut heard, mut unheard, mut told] = ["heard", "unheard", "told"].map(|name| {
        let mut agent = Agent::start(&desk, name, &["--hang"], false);
        agent.until_it_says("agent runs");
        agent
    });
    fill(&unheard.mouth);
    told.tell_to_stop();
    // In order as far as that goes, or as it is: somebody else's lock is no reason to stay.
    let code = told.ends();
    assert!([0, 11].contains(&code), "{code}");

    heard.until_it_says("nobody gives back the lock of the mempool");
    assert_eq!(heard.ends(), 10);
    assert_eq!(unheard.ends(), 10);
}
