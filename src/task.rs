//! The one room that spawns: named tasks, and a bounded pool for work that would block them.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// What a panic in a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPanic {
    /// The task ends, the rest goes on: for one connection, one target.
    EndTask,
    /// The box stops with a failing exit code and is started again: for owners of state.
    StopBox,
}

/// The phases of a stop, in order; each has its own token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Taking things in: listeners, sockets, scrapes, rule ticks.
    Intake,
    /// Finishing what was taken: requests, journals, sends.
    Work,
    /// The stores.
    Stores,
}

/// Spawns tasks by name and knows which are running; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    intake: CancellationToken,
    work: CancellationToken,
    stores: CancellationToken,
    running: Mutex<BTreeMap<u64, String>>,
    next: std::sync::atomic::AtomicU64,
    ended: Notify,
    /// Cancelled when a task that owns state panicked.
    broken: CancellationToken,
    pool: BlockingPool,
    questions: BlockingPool,
}

impl Tasks {
    /// Returns an empty registry whose pool has `permits` places for blocking work.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Tasks(Arc::new(Shared {
            intake: CancellationToken::new(),
            work: CancellationToken::new(),
            stores: CancellationToken::new(),
            running: Mutex::default(),
            next: std::sync::atomic::AtomicU64::new(0),
            ended: Notify::new(),
            broken: CancellationToken::new(),
            pool: BlockingPool::new(permits),
            questions: BlockingPool::new(permits),
        }))
    }

    /// Returns the token that ends tasks of a phase.
    #[must_use]
    pub fn token(&self, phase: Phase) -> CancellationToken {
        match phase {
            Phase::Intake => self.0.intake.clone(),
            Phase::Work => self.0.work.clone(),
            Phase::Stores => self.0.stores.clone(),
        }
    }

    /// Returns the token that is cancelled when a task with [`OnPanic::StopBox`] panicked.
    #[must_use]
    pub fn broken(&self) -> CancellationToken {
        self.0.broken.clone()
    }

    /// Runs a future as a task of its own under a name. It should end soon after its phase's token.
    #[expect(clippy::disallowed_methods, reason = "this room is the one that may spawn")]
    pub fn spawn(
        &self,
        name: impl Into<String>,
        on_panic: OnPanic,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let name = name.into();
        let id = self.0.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.lock().insert(id, name.clone());
        let guard = Running { shared: self.0.clone(), id };
        // No `async` block: it would keep room for the future twice, and there are ten thousand connections.
        let watched = AssertUnwindSafe(future).catch_unwind().map(move |outcome| {
            if outcome.is_err() {
                error!(task = %name, "task panicked");
                if on_panic == OnPanic::StopBox {
                    guard.shared.broken.cancel();
                }
            }
            drop(guard);
        });
        tokio::spawn(watched).abort_handle()
    }

    /// Returns the pool for work that may take more than half a millisecond.
    #[must_use]
    pub fn pool(&self) -> &BlockingPool {
        &self.0.pool
    }

    /// Returns the pool for what programs ask: however much that is, the box's own work has its places. As many as
    /// in the other; some of it may take long ([`BlockingPool::run_long`]).
    #[must_use]
    pub fn questions(&self) -> &BlockingPool {
        &self.0.questions
    }

    /// Returns the names of the tasks that still run, sorted; a name may stand more than once.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lock().values().cloned().collect();
        names.sort();
        names
    }

    /// Waits until no task whose name passes `which` is left, or the deadline is over. Returns the names
    /// of those that are left.
    pub async fn ended(&self, deadline: Duration, which: impl Fn(&str) -> bool) -> Vec<String> {
        let wait = async {
            loop {
                let notified = self.0.ended.notified();
                if !self.running().iter().any(|n| which(n)) {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(deadline, wait).await;
        self.running().into_iter().filter(|n| which(n)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off the list when it ends, also by abort.
struct Running {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.shared.ended.notify_waiters();
    }
}

/// Runs blocking work on threads, at most a fixed number at once; callers wait in order.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    permits: Arc<Semaphore>,
    /// Places beside, for work that took longer than [`SHORT`].
    beside: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// Work that takes longer gives its place to the next, if there is one beside ([`BlockingPool::run_long`]).
const SHORT: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// Places beside. They share what short work leaves of the cores.
const BESIDE_MAX: usize = 8;

/// How long work may keep its place after that while there is none beside and others wait.
const KEEPS_PLACE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 4000 });

/// What long work adds to its niceness.
const LONG_NICENESS: i32 = 10;

/// Runs work on a thread of its own that holds a place; returns the thread's number and the result, as they come.
fn start<T: Send + 'static>(
    place: Arc<Mutex<OwnedSemaphorePermit>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(oneshot::Receiver<rustix::process::Pid>, oneshot::Receiver<T>), Panicked> {
    let ((tell, thread), (answer, done)) = (oneshot::channel(), oneshot::channel());
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let _runtime = runtime.enter();
        let _ = tell.send(rustix::thread::gettid());
        let result = std::panic::catch_unwind(AssertUnwindSafe(work));
        drop(place);
        match result {
            Ok(result) => drop(answer.send(result)),
            Err(_) => error!("a question panicked"),
        }
    };
    let spawned = std::thread::Builder::new().name("question".to_owned()).spawn(run);
    spawned.map(|_| (thread, done)).map_err(|refused| {
        error!(%refused, "no thread for a question");
        Panicked
    })
}

/// Counts one caller who waits, also if he gives up.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Blocking work that panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("work panicked")]
pub struct Panicked;

impl BlockingPool {
    /// Returns a pool with so many places.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        BlockingPool {
            permits: Arc::new(Semaphore::new(permits.max(1))),
            beside: Arc::new(Semaphore::new(BESIDE_MAX)),
            waiting: Arc::default(),
        }
    }

    /// Runs `work` on a thread when a place is free and returns what it returns.
    ///
    /// # Errors
    /// [`Panicked`] if the work panicked.
    #[expect(clippy::disallowed_methods, reason = "this room is the one that may spawn")]
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        let waiting = Waiting::new(&self.waiting);
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Panicked)?;
        drop(waiting);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        })
        .await
        .map_err(|_| Panicked)
    }

    /// As [`BlockingPool::run`], on a thread of its own, for work that may take long: after a second it goes on beside
    /// and stands back for others, so that what is short does not wait for what is long. Where there is no place
    /// beside, and others wait, `crowd_out` tells it to end. It goes on to its end also if the caller gives up; then it
    /// must be told so.
    ///
    /// # Errors
    /// [`Panicked`] if the work panicked, or if the system gives no thread.
    pub async fn run_long<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        crowd_out: impl FnOnce(),
    ) -> Result<T, Panicked> {
        let waiting = Waiting::new(&self.waiting);
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Panicked)?;
        drop(waiting);
        let place = Arc::new(Mutex::new(permit));
        let (thread, mut done) = start(place.clone(), work)?;
        tokio::select! {
            done = &mut done => return done.map_err(|_| Panicked),
            () = tokio::time::sleep(SHORT) => {}
        }
        let beside = self.beside.clone().acquire_owned();
        let crowded = async {
            tokio::time::sleep(KEEPS_PLACE).await;
            while self.waiting() == 0 {
                tokio::time::sleep(SHORT).await;
            }
        };
        tokio::select! {
            done = &mut done => return done.map_err(|_| Panicked),
            Ok(permit) = beside => {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = permit;
                if let Ok(thread) = thread.await {
                    // Refused, it is as quick as others.
                    let _ = rustix::process::setpriority_process(Some(thread), LONG_NICENESS);
                }
            }
            () = crowded => crowd_out(),
        }
        drop(place);
        done.await.map_err(|_| Panicked)
    }

    /// Returns how many callers wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns how many places are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.permits.available_permits()
    }
}

/// Cores for work that can be done in parts: so many threads are busy at most, over all who share them. Who works on
/// one anyway says so with [`Cores::enter`]; helpers are had only while others are idle.
#[derive(Debug, Clone)]
pub struct Cores(Arc<Busy>);

#[derive(Debug)]
struct Busy {
    total: usize,
    busy: AtomicUsize,
}

/// Threads that are counted as busy until dropped.
#[derive(Debug)]
pub struct Helpers {
    cores: Cores,
    count: usize,
}

/// A helper's niceness: it stands back for those who take samples in.
const HELPER_NICENESS: i32 = 5;

impl Cores {
    /// Returns so many cores, none of them busy.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Cores(Arc::new(Busy { total, busy: AtomicUsize::new(0) }))
    }

    /// Returns the machine's cores.
    #[must_use]
    pub fn of_machine() -> Self {
        Cores::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Counts the caller's thread until the answer is dropped; never refused.
    #[must_use]
    pub fn enter(&self) -> Helpers {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Helpers { cores: self.clone(), count: 1 }
    }

    /// Returns how many cores have nothing to do.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.0.total.saturating_sub(self.0.busy.load(Ordering::Relaxed))
    }

    /// Takes idle cores, at most so many.
    #[must_use]
    pub fn helpers(&self, at_most: usize) -> Helpers {
        let mut count = 0;
        let take = |busy: usize| {
            count = self.0.total.saturating_sub(busy).min(at_most);
            (count > 0).then_some(busy + count)
        };
        let is_taken = self.0.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        Helpers { cores: self.clone(), count: if is_taken { count } else { 0 } }
    }
}

impl Helpers {
    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `work` on each part and returns the results in order. The caller's thread and one for each helper take the
    /// next part whenever they have done one, so that with more parts than threads nobody waits long for a slow helper.
    ///
    /// # Panics
    /// If `work` does.
    pub fn spread<P: Send, R: Send>(&self, parts: Vec<P>, work: impl Fn(P) -> R + Sync) -> Vec<R> {
        let threads = self.count.min(parts.len().saturating_sub(1));
        let queue = Mutex::new(parts.into_iter().enumerate());
        let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || -> Vec<(usize, R)> { std::iter::from_fn(take).map(|(at, part)| (at, work(part))).collect() };
        let help = || {
            // Refused, it is as quick as its caller.
            let _ = rustix::process::setpriority_process(None, HELPER_NICENESS);
            run()
        };
        let mut results = std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..threads).map(|_| scope.spawn(help)).collect();
            let mut results = run();
            for helper in helpers {
                results.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results
        });
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.cores.0.busy.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_cores_help_than_are_idle() {
        let cores = Cores::new(3);
        let own = cores.enter();
        assert_eq!(cores.helpers(1).count(), 1);
        let helpers = cores.helpers(9);
        assert_eq!((helpers.count(), cores.idle(), cores.helpers(9).count()), (2, 0, 0));
        assert_eq!(helpers.spread((0..100).collect(), |n| n * 2), (0..200).step_by(2).collect::<Vec<_>>());
        assert_eq!(helpers.spread(vec![1], |n| n), [1]);
        drop(helpers);
        assert_eq!(cores.idle(), 2);
        drop(own);
        // Who comes anyway is counted, also beyond what there is.
        let many: Vec<Helpers> = (0..5).map(|_| cores.enter()).collect();
        assert_eq!((cores.idle(), cores.helpers(1).count()), (0, 0));
        drop(many);
        assert_eq!(cores.idle(), 3);
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn a_panic_of_a_helper_is_the_callers() {
        Cores::new(2).helpers(1).spread(vec![1, 2], |n| assert!(n == 1, "on purpose"));
    }

    #[tokio::test]
    async fn a_task_is_listed_while_it_runs() {
        let tasks = Tasks::new(1);
        let token = tasks.token(Phase::Intake);
        tasks.spawn("a", OnPanic::EndTask, async move { token.cancelled().await });
        assert_eq!(tasks.running(), ["a"]);
        assert_eq!(tasks.ended(Duration::from_millis(10), |_| true).await, ["a"]);
        tasks.token(Phase::Intake).cancel();
        assert!(tasks.ended(Duration::from_secs(5), |_| true).await.is_empty());
    }

    #[tokio::test]
    async fn only_a_panic_of_an_owner_of_state_stops_the_box() {
        let tasks = Tasks::new(1);
        tasks.spawn("connection", OnPanic::EndTask, async { panic!("bug: on purpose") });
        tasks.ended(Duration::from_secs(5), |_| true).await;
        assert!(!tasks.broken().is_cancelled());
        tasks.spawn("board", OnPanic::StopBox, async { panic!("bug: on purpose") });
        tasks.ended(Duration::from_secs(5), |_| true).await;
        assert!(tasks.broken().is_cancelled());
    }

    #[tokio::test]
    async fn the_pool_survives_a_panic() {
        let pool = BlockingPool::new(1);
        assert_eq!(pool.run(|| panic!("bug: on purpose")).await, Err::<(), _>(Panicked));
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(pool.free(), 1);
    }

    #[tokio::test]
    async fn what_takes_long_goes_on_beside_and_is_crowded_out_where_there_is_no_room() {
        let pool = BlockingPool::new(1);
        let end = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let crowded = Arc::new(AtomicUsize::new(0));
        let long = || {
            let (pool, end, crowded) = (pool.clone(), end.clone(), crowded.clone());
            async move {
                let out = end.clone();
                let work = move || {
                    while !out.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                };
                let crowd_out = || {
                    crowded.fetch_add(1, Ordering::Relaxed);
                    end.store(true, Ordering::Relaxed);
                };
                pool.run_long(work, crowd_out).await
            }
        };
        // One more than there are places beside: with nobody behind it, it keeps the place of short work.
        let mut running: Vec<_> = (0..=BESIDE_MAX).map(|_| Box::pin(long())).collect();
        let mut all = futures_util::future::join_all(running.drain(..));
        let moved = async {
            while pool.beside.available_permits() > 0 || pool.free() > 0 || pool.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(3 * KEEPS_PLACE).await;
        };
        tokio::select! {
            _ = &mut all => panic!("nothing told them to end"),
            () = moved => {}
        }
        assert_eq!(crowded.load(Ordering::Relaxed), 0);
        // Somebody comes who is short.
        let (last, others) = tokio::join!(pool.run_long(|| 7, || ()), all);
        assert_eq!(last, Ok(7));
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(crowded.load(Ordering::Relaxed), 1);
        assert_eq!((pool.free(), pool.beside.available_permits()), (1, BESIDE_MAX));
    }

    #[tokio::test]
    async fn a_panic_of_long_work_is_told() {
        let pool = BlockingPool::new(1);
        assert_eq!(pool.run_long(|| panic!("bug: on purpose"), || ()).await, Err::<(), _>(Panicked));
        assert_eq!(pool.run_long(|| 7, || ()).await, Ok(7));
        assert_eq!(pool.free(), 1);
    }

    #[tokio::test]
    async fn those_who_wait_are_counted_until_they_give_up() {
        let pool = BlockingPool::new(1);
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let mut first = Box::pin(pool.run(move || held.recv()));
        let mut second = Box::pin(pool.run(|| ()));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(pool.waiting(), 1);
        drop(second);
        assert_eq!(pool.waiting(), 0);
        release.send(()).unwrap();
        assert_eq!(first.await, Ok(Ok(())));
    }
}
