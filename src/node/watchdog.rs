//! Sees from outside what the tasks cannot see from inside: a task that never gives its thread back, a runtime that runs nothing
//! any more, a lock that nobody gives back. It says which, and ends the process with a code of its own, so that a supervisor
//! starts it again.
//!
//! It is a thread of the system and shares nothing with the runtime. It counts its own looks, not time: a process that was
//! stopped for an hour (SIGSTOP, a machine put to sleep) has not hung.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Looks in a row after which what has not moved has hung: a minute. No step of any task takes nearly as long, also where
/// many share a processor.
const PATIENCE: u32 = 120;

/// A step of a task: odd while it runs.
#[derive(Clone, Debug, Default)]
struct Step(Arc<AtomicU64>);

impl Step {
    /// Whether whoever took the steps is gone, and has not hung.
    fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// The steps of a thread, which takes one at least every few seconds. Once it is dropped, the thread is not watched any more.
#[derive(Debug)]
pub(crate) struct Beat(Step);

impl Beat {
    pub(crate) fn step(&self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future whose steps the watchdog sees.
#[derive(Debug)]
pub(crate) struct Watched<F> {
    future: Pin<Box<F>>,
    step: Step,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.step.0.fetch_add(1, Ordering::SeqCst);
        let result = self.future.as_mut().poll(context);
        self.step.0.fetch_add(1, Ordering::SeqCst);
        result
    }
}

/// Whether a lock can be had at this moment.
type IsFree = Box<dyn Fn() -> bool + Send>;

enum Subject {
    /// Hangs if it stays in one step.
    Task(Step),
    /// Hangs if it takes no step.
    Runtime(Step),
    /// The same of a thread.
    Thread(Step),
    /// Hangs if it is never free.
    Lock(IsFree),
}

struct Entry {
    name: &'static str,
    subject: Subject,
    /// What was seen last, and in how many looks in a row.
    last: u64,
    looks: u32,
}

impl Entry {
    /// Looks once more; what is wrong if it has hung.
    fn look(&mut self, patience: u32) -> Option<String> {
        let (now, may_hang) = match &self.subject {
            Subject::Task(step) => {
                let now = step.0.load(Ordering::SeqCst);
                (now, now % 2 == 1)
            }
            Subject::Runtime(step) | Subject::Thread(step) => {
                (step.0.load(Ordering::SeqCst), !step.is_over())
            }
            Subject::Lock(is_free) => (0, !is_free()),
        };
        let same = may_hang && now == self.last;
        self.last = now;
        self.looks = if same { self.looks.saturating_add(1) } else { 0 };
        if self.looks < patience {
            return None;
        }
        Some(match self.subject {
            Subject::Task(_) => format!("task {} hangs", self.name),
            Subject::Runtime(_) => format!("{} runs no task any more", self.name),
            Subject::Thread(_) => format!("{} does nothing any more", self.name),
            Subject::Lock(_) => format!("nobody gives back the lock of {}", self.name),
        })
    }
}

/// What is watched. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Vec<Entry>>>);

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

impl Watchdog {
    fn add(&self, name: &'static str, subject: Subject) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry { name, subject, last: 0, looks: 0 });
    }

    /// Watches over the steps of a task.
    pub(crate) fn task<F: Future>(&self, name: &'static str, future: F) -> Watched<F> {
        let step = Step::default();
        self.add(name, Subject::Task(step.clone()));
        Watched { future: Box::pin(future), step }
    }

    /// Watches over the runtime that this is called on: whether it runs anything at all.
    pub(crate) fn runtime(&self, name: &'static str) -> impl Future<Output = ()> + Send + use<> {
        let step = Step::default();
        self.add(name, Subject::Runtime(step.clone()));
        async move {
            loop {
                step.0.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Watches over a thread.
    pub(crate) fn thread(&self, name: &'static str) -> Beat {
        let step = Step::default();
        self.add(name, Subject::Thread(step.clone()));
        Beat(step)
    }

    /// Watches over a lock that tasks share.
    pub(crate) fn lock(&self, name: &'static str, is_free: impl Fn() -> bool + Send + 'static) {
        self.add(name, Subject::Lock(Box::new(is_free)));
    }

    /// Looks at everything once; what has hung, if anything has.
    fn look(&self, patience: u32) -> Vec<String> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter_mut().filter_map(|entry| entry.look(patience)).collect()
    }

    /// Starts to look, until `end` is called with what has hung, or all clones are gone.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn start(&self, end: impl FnOnce(&str) + Send + 'static) -> std::io::Result<()> {
        let entries = Arc::downgrade(&self.0);
        let watching = move || loop {
            std::thread::sleep(LOOK);
            let Some(watchdog) = entries.upgrade().map(Self) else { return };
            let hung = watchdog.look(PATIENCE);
            if !hung.is_empty() {
                return end(&hung.join("; "));
            }
        };
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(watching).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::Watchdog;
    use std::sync::{Arc, Mutex, mpsc};
    use std::task::{Context, Poll, Waker};

    const PATIENCE: u32 = 3;

    /// What is said in each of the next looks.
    fn looks(watchdog: &Watchdog, times: usize) -> Vec<String> {
        (0..times).flat_map(|_| watchdog.look(PATIENCE)).collect()
    }

    #[test]
    fn a_task_that_waits_has_not_hung_and_one_that_never_returns_has() {
        let watchdog = Watchdog::default();
        let (go, gate) = mpsc::channel::<()>();
        let mut waits = Box::pin(watchdog.task("waiter", std::future::pending::<()>()));
        let context = &mut Context::from_waker(Waker::noop());
        assert_eq!(waits.as_mut().poll(context), Poll::Pending);
        let hangs = watchdog.task("looper", async move { gate.recv() });
        let (begun, begins) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            begun.send(()).unwrap();
            let mut hangs = Box::pin(hangs);
            hangs.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        });
        begins.recv().unwrap();
        let said = std::iter::repeat_with(|| looks(&watchdog, 1)).find(|said| !said.is_empty());
        assert_eq!(said.unwrap(), ["task looper hangs"]);

        go.send(()).unwrap();
        assert!(thread.join().unwrap());
        assert_eq!(looks(&watchdog, 10), Vec::<String>::new(), "it came back");
    }

    #[test]
    fn a_task_that_is_in_a_step_at_each_look_but_not_in_the_same_one_works() {
        let watchdog = Watchdog::default();
        let task = watchdog.task("worker", std::future::pending::<()>());
        task.step.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        for _ in 0..10 {
            task.step.0.fetch_add(2, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(watchdog.look(PATIENCE), Vec::<String>::new());
        }
    }

    #[test]
    fn a_lock_that_nobody_gives_back_is_named_and_one_that_is_busy_is_not() {
        let watchdog = Watchdog::default();
        let lock = Arc::new(Mutex::new(()));
        let probed = Arc::clone(&lock);
        watchdog.lock("the mempool", move || probed.try_lock().is_ok());
        for _ in 0..10 {
            let held = lock.lock().unwrap();
            assert_eq!(looks(&watchdog, 2), Vec::<String>::new());
            drop(held);
            assert_eq!(looks(&watchdog, 1), Vec::<String>::new());
        }
        let _held = lock.lock().unwrap();
        assert_eq!(
            looks(&watchdog, 4).first().unwrap(),
            "nobody gives back the lock of the mempool"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_runs_nothing_is_named() {
        let watchdog = Watchdog::default();
        let beats = watchdog.runtime("the runtime");
        let beating = tokio::spawn(beats);
        for _ in 0..10 {
            tokio::time::sleep(super::LOOK).await;
            assert_eq!(watchdog.look(PATIENCE), Vec::<String>::new());
        }
        // Nobody runs it: its runtime hangs.
        assert_eq!(looks(&watchdog, 4).first().unwrap(), "the runtime runs no task any more");
        beating.abort();
        let _ = beating.await;
        assert_eq!(looks(&watchdog, 8), Vec::<String>::new(), "a runtime that was ended");
    }

    #[test]
    fn a_thread_that_takes_no_step_is_named_and_one_that_ended_is_not() {
        let watchdog = Watchdog::default();
        let beat = watchdog.thread("the intake");
        for _ in 0..10 {
            beat.step();
            assert_eq!(looks(&watchdog, 2), Vec::<String>::new());
        }
        assert_eq!(looks(&watchdog, 4).first().unwrap(), "the intake does nothing any more");
        drop(beat);
        assert_eq!(looks(&watchdog, 8), Vec::<String>::new());
    }
}
