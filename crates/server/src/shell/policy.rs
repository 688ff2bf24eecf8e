//! How the kernel schedules this process's threads: as a batch (`SCHED_BATCH`, sched(7)).
//!
//! A thread that is woken usually takes the core from whoever woke it. For a server whose every step wakes others that is
//! the wrong way round: the first request of a client that has many to send would be taken up before the second is sent, the
//! first answer of a step delivered before the second is given out, and each of them costs a sleep, a wake-up and a system
//! call of its own. As a batch, threads wait until a core is free (or for the next tick of the clock), and find everything
//! at once. Where cores are free nothing changes. See docs/decisions/0011.

use rustix::process::getpriority_process;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityOsValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// For this thread and all that it will start. A niceness is an operator's choice, and the library cannot keep one: then
/// nothing is changed. Nor is anything lost if the kernel refuses.
pub fn batch() {
    if getpriority_process(None) != Ok(0) {
        return;
    }
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let usual = ThreadPriority::Os(ThreadPriorityOsValue::default());
    if let Err(e) = set_thread_priority_and_policy(thread_native_id(), usual, policy) {
        tracing::debug!("threads are scheduled one by one: {e:?}");
    }
}
