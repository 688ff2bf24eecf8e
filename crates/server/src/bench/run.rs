//! The closed loop: threads that own their connections and clients and share nothing until somebody counts.
//!
//! ```text
//! thread 0: runtime ─ line 0, line 2 … ─ client 0, client 2 … ─ one tally     every second each thread sends its
//! thread 1: runtime ─ line 1, line 3 … ─ client 1, client 3 … ─ one tally     tally and begins a new one
//! ```

use super::line::{Failure, Line};
use super::load::Load;
use super::tally::Tally;
use base::Rng;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// When a run ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stop {
    /// After this many operations.
    Total(u64),
    /// After this long.
    After(Duration),
}

/// How a load is driven.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// `host:port` of each endpoint; connections are dealt out in turn.
    pub endpoints: Vec<String>,
    /// Connections.
    pub conns: usize,
    /// Clients; each waits for its answer before it asks again.
    pub clients: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// When to end.
    pub stop: Stop,
    /// Time at the beginning that is not counted.
    pub warmup: Duration,
    /// Write all keys first.
    pub prefill: bool,
    /// What to do.
    pub load: Load,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything after the warm-up.
    pub tally: Tally,
    /// How long that took.
    pub elapsed: Duration,
    /// Operations that succeeded, the warm-up included.
    pub done_with_warmup: u64,
}

/// Time that operations get to end after the run's end.
const GRACE: Duration = Duration::from_secs(5);
/// Pause before a lost connection is opened again.
const REOPEN: Duration = Duration::from_millis(100);

enum Note {
    Ready(Result<(), String>),
    Filled(Result<(), String>),
    /// Of one thread, since its last.
    Second(usize, Tally),
    /// And what came after that.
    Ended(usize, Tally),
}

/// Drive the load. `on_second` hears of every second of the run: its number and what happened in it.
pub fn run(plan: &Plan, mut on_second: impl FnMut(u64, &Tally)) -> Result<Outcome, String> {
    let threads = plan.threads.min(plan.conns).max(1);
    let (send, notes) = channel();
    let mut gates = Vec::new();
    for thread in 0..threads {
        let (gate, open) = channel();
        let (plan, send) = (plan.clone(), send.clone());
        let spawned = std::thread::Builder::new()
            .name(format!("load-{thread}"))
            .spawn(move || one_thread(&plan, thread, threads, (&send, &open)));
        spawned.map_err(|e| format!("cannot start a thread: {e}"))?;
        gates.push(gate);
    }
    drop(send);
    all(&notes, threads)?;
    if plan.prefill {
        open(&gates);
        all(&notes, threads)?;
    }
    let began = Instant::now();
    open(&gates);
    collect(&notes, threads, began + plan.warmup, &mut on_second)
}

fn open(gates: &[Sender<()>]) {
    for gate in gates {
        let _ = gate.send(());
    }
}

/// Wait until every thread says that it is ready, or filled.
fn all(notes: &Receiver<Note>, threads: usize) -> Result<(), String> {
    for _ in 0..threads {
        match notes.recv() {
            Ok(Note::Ready(outcome) | Note::Filled(outcome)) => outcome?,
            _ => return Err("a thread of the generator ended early".to_string()),
        }
    }
    Ok(())
}

/// What is left of a run's last second is worth a line if it is longer than this.
const REST: Duration = Duration::from_millis(500);

/// Seconds of which every running thread has told.
struct Seconds {
    /// By thread; one that has ended holds nobody up.
    told: Vec<u64>,
    shown: u64,
    since: Instant,
}

impl Seconds {
    /// Is there a second that all have told of and that was not shown yet?
    fn is_full(&self) -> bool {
        let all = self.told.iter().min().copied().unwrap_or(u64::MAX);
        all > self.shown && all < u64::MAX
    }
}

/// Add up what the threads say, second by second; the warm-up ends with the second in which its time is over.
fn collect(
    notes: &Receiver<Note>,
    threads: usize,
    warm_until: Instant,
    on_second: &mut impl FnMut(u64, &Tally),
) -> Result<Outcome, String> {
    let (mut tally, mut second, mut warm) = (Tally::default(), Tally::default(), 0);
    let mut seconds = Seconds { told: vec![0; threads], shown: 0, since: Instant::now() };
    let mut counted_from = Instant::now();
    let mut counting = counted_from >= warm_until;
    while seconds.told.iter().any(|n| *n < u64::MAX) {
        let part = match notes.recv() {
            Ok(Note::Second(thread, part)) => {
                seconds.told[thread] += 1;
                part
            }
            Ok(Note::Ended(thread, part)) => {
                seconds.told[thread] = u64::MAX;
                part
            }
            _ => return Err("a thread of the generator ended early".to_string()),
        };
        if counting {
            tally.add(&part)
        } else {
            warm += part.done()
        }
        second.add(&part);
        if seconds.is_full() {
            (seconds.shown, seconds.since) = (seconds.shown + 1, Instant::now());
            on_second(seconds.shown, &second);
            second = Tally::default();
            if !counting && Instant::now() >= warm_until {
                (counting, counted_from) = (true, Instant::now());
            }
        }
    }
    let elapsed = counted_from.elapsed();
    if seconds.since.elapsed() >= REST {
        on_second(seconds.shown + 1, &second);
    }
    Ok(Outcome { done_with_warmup: tally.done() + warm, tally, elapsed })
}

/// One connection, opened again when it breaks.
struct Slot {
    endpoint: Cell<usize>,
    line: RefCell<Option<Line>>,
}

/// What the clients of one thread share.
struct Shared {
    plan: Plan,
    slots: Vec<Slot>,
    tally: RefCell<Tally>,
    /// Operations that may still begin, and when no more may.
    left: Cell<u64>,
    deadline: Cell<Option<Instant>>,
    running: Cell<usize>,
    /// Told when the last client has ended.
    finished: Notify,
}

type Ends<'a> = (&'a Sender<Note>, &'a Receiver<()>);

fn one_thread(plan: &Plan, thread: usize, threads: usize, (notes, gate): Ends) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return drop(notes.send(Note::Ready(Err(e.to_string())))),
    };
    let local = LocalSet::new();
    let mine = |count: usize| (0..count).skip(thread).step_by(threads);
    let slot = |n: usize| Slot { endpoint: Cell::new(n % plan.endpoints.len()), line: RefCell::new(None) };
    let share = |total: u64| total / threads as u64 + u64::from((thread as u64) < total % threads as u64);
    let shared = Rc::new(Shared {
        plan: plan.clone(),
        slots: mine(plan.conns).map(slot).collect(),
        tally: RefCell::default(),
        left: Cell::new(if let Stop::Total(total) = plan.stop { share(total) } else { u64::MAX }),
        deadline: Cell::new(None),
        running: Cell::new(0),
        finished: Notify::new(),
    });
    let opened = local.block_on(&runtime, shared.open_all());
    let failed = opened.is_err();
    let _ = notes.send(Note::Ready(opened.map_err(|e| e.to_string())));
    if failed || gate.recv().is_err() {
        return;
    }
    if plan.prefill {
        let filled = local.block_on(&runtime, fill(shared.clone(), thread, threads));
        let failed = filled.is_err();
        let _ = notes.send(Note::Filled(filled.map_err(|e| format!("prefill: {e}"))));
        if failed || gate.recv().is_err() {
            return;
        }
    }
    if let Stop::After(time) = plan.stop {
        shared.deadline.set(Some(Instant::now() + plan.warmup + time));
    }
    local.block_on(&runtime, drive(shared.clone(), mine(plan.clients).collect(), (thread, threads), notes));
    let _ = notes.send(Note::Ended(thread, shared.tally.take()));
}

/// Run this thread's clients; send the tally every second.
async fn drive(shared: Rc<Shared>, clients: Vec<usize>, (thread, threads): (usize, usize), notes: &Sender<Note>) {
    shared.running.set(clients.len());
    for client in clients {
        tokio::task::spawn_local(one_client(shared.clone(), client, client / threads));
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut next = Instant::now() + Duration::from_secs(1);
    while shared.running.get() > 0 {
        tokio::select! { _ = ticks.tick() => {}, () = shared.finished.notified() => {} }
        if Instant::now() >= next {
            next += Duration::from_secs(1);
            let _ = notes.send(Note::Second(thread, shared.tally.take()));
        }
        if shared.deadline.get().is_some_and(|end| Instant::now() > end + GRACE) {
            return;
        }
    }
}

/// The closed loop itself: ask, wait for the answer, note how long it took.
async fn one_client(shared: Rc<Shared>, client: usize, slot: usize) {
    let slot = slot % shared.slots.len();
    let (keys, clients) = (&shared.plan.load.keys, shared.plan.clients as u64);
    let mut rng = Rng::new(client as u64 * 7919 + 1);
    // Sequential clients share out the numbers: client c takes c, c + clients, c + 2 · clients …
    let mut next = client as u64;
    let mut began = Instant::now();
    loop {
        let left = shared.left.get();
        if left == 0 || shared.deadline.get().is_some_and(|end| began >= end) {
            break;
        }
        shared.left.set(left - 1);
        let n = if keys.sequential { next % keys.space } else { rng.below(keys.space) };
        next += clients;
        let outcome = shared.one(slot, n, &mut rng).await;
        let ended = Instant::now();
        shared.tally.borrow_mut().note(ended - began, &outcome);
        began = ended;
        if let Err(Failure::Transport(_)) = outcome {
            shared.slots[slot].line.borrow_mut().take();
            tokio::time::sleep(REOPEN).await;
            began = Instant::now();
        }
    }
    shared.running.set(shared.running.get() - 1);
    if shared.running.get() == 0 {
        shared.finished.notify_one();
    }
}

impl Shared {
    async fn open_all(&self) -> Result<(), Failure> {
        for slot in 0..self.slots.len() {
            self.line(slot).await?;
        }
        Ok(())
    }

    /// The slot's connection, opened if it is not; an endpoint that cannot be reached makes room for the next one.
    async fn line(&self, slot: usize) -> Result<Line, Failure> {
        let slot = &self.slots[slot];
        if let Some(line) = slot.line.borrow().as_ref() {
            return Ok(line.clone());
        }
        let endpoint = slot.endpoint.get();
        match Line::open(&self.plan.endpoints[endpoint]).await {
            Ok(line) => {
                *slot.line.borrow_mut() = Some(line.clone());
                Ok(line)
            }
            Err(e) => {
                slot.endpoint.set((endpoint + 1) % self.plan.endpoints.len());
                Err(e)
            }
        }
    }

    async fn one(&self, slot: usize, n: u64, rng: &mut Rng) -> Result<bool, Failure> {
        let mut line = self.line(slot).await?;
        self.plan.load.act(&mut line, n, rng).await
    }
}

/// Keys of one prefilling transaction; etcd allows 128 operations.
const FILL: u64 = 100;
/// Prefilling transactions under way in one thread.
const FILLERS: u64 = 4;

async fn fill(shared: Rc<Shared>, thread: usize, threads: usize) -> Result<(), Failure> {
    let space = shared.plan.load.keys.space;
    let fillers: Vec<_> = (0..FILLERS)
        .map(|filler| {
            let (shared, lanes) = (shared.clone(), FILLERS * threads as u64);
            let first = filler * threads as u64 + thread as u64;
            tokio::task::spawn_local(async move {
                for batch in (first..space.div_ceil(FILL)).step_by(lanes as usize) {
                    let slot = filler as usize % shared.slots.len();
                    let mut line = shared.line(slot).await?;
                    shared.plan.load.prefill(&mut line, batch * FILL, space.min((batch + 1) * FILL)).await?;
                }
                Ok::<(), Failure>(())
            })
        })
        .collect();
    for filler in fillers {
        filler.await.map_err(|e| Failure::Transport(e.to_string()))??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Rule, plan, serve};
    use super::super::load::Verb;
    use super::*;

    #[test]
    fn every_operation_is_counted_once() {
        let address = serve(Rule::Well);
        for verb in [Verb::Put, Verb::Get, Verb::Scan, Verb::Mixed, Verb::Txn] {
            let outcome = run(&plan(address, verb, 1001), |_, _| {}).unwrap();
            assert_eq!((outcome.tally.done(), outcome.tally.errors), (1001, 0), "{verb:?}");
            assert_eq!(outcome.done_with_warmup, 1001);
            let reads = matches!(verb, Verb::Get | Verb::Scan);
            assert_eq!(outcome.tally.empty == 1001, reads, "an empty answer to a read is told apart");
        }
    }

    #[test]
    fn refusals_are_errors_with_the_servers_words() {
        let outcome = run(&plan(serve(Rule::Refuse), Verb::Put, 50), |_, _| {}).unwrap();
        assert_eq!((outcome.tally.done(), outcome.tally.errors), (0, 50));
        assert_eq!(outcome.tally.first_error.as_deref(), Some("grpc code 8: too many requests: 100%"));
    }

    #[test]
    fn a_cut_connection_is_opened_again() {
        let outcome = run(&plan(serve(Rule::Cut), Verb::Put, 60), |_, _| {}).unwrap();
        assert_eq!(outcome.tally.done() + outcome.tally.errors, 60);
        assert!(outcome.tally.errors > 0 && outcome.tally.done() > 10, "{:?}", outcome.tally.done());
    }

    #[test]
    fn prefilling_writes_every_key_with_and_without_transactions() {
        for rule in [Rule::Well, Rule::NoTxn] {
            let plan = Plan { prefill: true, ..plan(serve(rule), Verb::Put, 1) };
            assert_eq!(run(&plan, |_, _| {}).unwrap().tally.done(), 1, "{rule:?}");
        }
        let plan = Plan { prefill: true, ..plan(serve(Rule::Refuse), Verb::Get, 1) };
        assert!(run(&plan, |_, _| {}).is_err(), "a load over keys that could not be written means nothing");
    }

    /// One thread tells its last second and its end before the other tells of the same second.
    #[test]
    fn a_second_is_shown_once_all_threads_have_told_of_it() {
        let (send, notes) = channel();
        let part = || {
            let mut tally = Tally::default();
            tally.note(Duration::from_millis(1), &Ok(true));
            tally
        };
        for note in [Note::Second(0, part()), Note::Ended(0, part()), Note::Second(1, part()), Note::Ended(1, part())] {
            send.send(note).expect("a listener");
        }
        let mut lines = Vec::new();
        let outcome = collect(&notes, 2, Instant::now(), &mut |number, tally| lines.push((number, tally.done())));
        assert_eq!(lines, [(1, 3)]);
        assert_eq!(outcome.unwrap().tally.done(), 4);
    }

    #[test]
    fn a_timed_run_ends_and_leaves_its_warmup_out() {
        let timed = Plan {
            stop: Stop::After(Duration::from_millis(1300)),
            warmup: Duration::from_millis(500),
            ..plan(serve(Rule::Well), Verb::Put, 0)
        };
        let mut seconds = Vec::new();
        let outcome = run(&timed, |number, tally| seconds.push((number, tally.done()))).unwrap();
        assert_eq!(seconds[0].0, 1);
        assert!(outcome.done_with_warmup > outcome.tally.done() && outcome.tally.done() > 0);
        assert!(outcome.elapsed < Duration::from_millis(1500), "{:?}", outcome.elapsed);
    }
}
