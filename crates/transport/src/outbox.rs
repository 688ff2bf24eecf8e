//! The frames that wait for one lane to one peer, bounded in bytes, and the stream that takes them away.

use crate::message::{MAX_BATCH_BYTES, Message};
use crate::{Hello, Lane};
use base::limits::MAX_FRAME_BYTES;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Frames on their way from the step thread to one stream.
///
/// * It is open for at most one session; sessions are numbered upwards and an ended one never comes back.
/// * `bytes` is the sum over `frames`, and more than `limit` only while a single frame is larger.
/// * While no session is open, nothing is held.
pub(crate) struct Outbox {
    limit: usize,
    /// When it overflows: forget the oldest frames, or refuse the new one?
    forgets_oldest: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The session that is open; 0 when none is.
    session: u64,
    /// The newest session that is over.
    ended: u64,
    /// The open session ends once everything has been taken.
    finishing: bool,
    frames: VecDeque<Bytes>,
    bytes: usize,
    ping: Option<u64>,
    waker: Option<Waker>,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pushed {
    /// It waits; this many older ones were forgotten for it.
    Queued { forgotten: u64 },
    /// It was dropped: no session is open.
    NoSession,
    /// It was dropped: no room, or larger than any frame may be.
    NoRoom,
}

impl Outbox {
    pub(crate) fn new(lane: Lane, limit: usize) -> Outbox {
        Outbox { limit, forgets_oldest: lane == Lane::Control, state: Mutex::default() }
    }

    /// Takes a frame without ever waiting for the network.
    pub(crate) fn push(&self, frame: Bytes) -> Pushed {
        if frame.len() > MAX_FRAME_BYTES {
            return Pushed::NoRoom;
        }
        let mut state = self.state.lock();
        if state.session == 0 || state.finishing {
            return Pushed::NoSession;
        }
        let mut forgotten = 0;
        while !state.frames.is_empty() && state.bytes + frame.len() > self.limit {
            if !self.forgets_oldest {
                return Pushed::NoRoom;
            }
            let oldest = state.frames.pop_front().expect("not empty, as the loop says");
            state.bytes -= oldest.len();
            forgotten += 1;
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        wake(state);
        Pushed::Queued { forgotten }
    }

    /// Bytes that still fit.
    pub(crate) fn room(&self) -> usize {
        let state = self.state.lock();
        if state.session == 0 || state.finishing { 0 } else { self.limit.saturating_sub(state.bytes) }
    }

    /// Asks the open session to send a ping soon. An unsent earlier one is forgotten.
    pub(crate) fn ping(&self, number: u64) {
        let mut state = self.state.lock();
        if state.session != 0 {
            state.ping = Some(number);
            wake(state);
        }
    }

    /// From now on frames are taken in, for this session's stream only.
    pub(crate) fn open(&self, session: u64) {
        let mut state = self.state.lock();
        assert!(state.session == 0 && session > state.ended, "session {session} opens a closed outbox, once");
        state.session = session;
        wake(state);
    }

    /// The session's stream ends once what waits has been taken; nothing more is taken in.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.finishing = true;
        wake(state);
    }

    /// The session is over, whether or not it was ever open: its stream ends at once, and what waits is dropped.
    /// Returns how many frames that were.
    pub(crate) fn close(&self, session: u64) -> u64 {
        let mut state = self.state.lock();
        state.ended = state.ended.max(session);
        let mut dropped = 0;
        if state.session == session {
            dropped = state.frames.len() as u64;
            let waker = state.waker.take();
            *state = State { ended: state.ended, waker, ..State::default() };
        }
        wake(state);
        dropped
    }
}

/// Wakes the stream after the lock is gone.
fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What one stream of one session sends: its opening, then whatever the outbox holds, as few messages as possible.
pub(crate) struct Outward {
    outbox: Arc<Outbox>,
    session: u64,
    opening: Option<(Lane, Hello)>,
}

impl Outward {
    pub(crate) fn new(outbox: Arc<Outbox>, session: u64, lane: Lane, hello: Hello) -> Outward {
        Outward { outbox, session, opening: Some((lane, hello)) }
    }

    /// The next message, or none when the stream is to end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some((lane, hello)) = self.opening.take() {
            return Poll::Ready(Some(Message::Open(lane, hello)));
        }
        let mut state = self.outbox.state.lock();
        if state.ended >= self.session {
            return Poll::Ready(None);
        }
        if state.session == self.session {
            if let Some(number) = state.ping.take() {
                return Poll::Ready(Some(Message::Ping(number)));
            }
            if !state.frames.is_empty() {
                return Poll::Ready(Some(Message::Frames(take_batch(&mut state))));
            }
            if state.finishing {
                return Poll::Ready(None);
            }
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// At least one frame, then as many as stay within a batch.
fn take_batch(state: &mut State) -> Vec<Bytes> {
    let (mut n, mut bytes) = (0, 0);
    for frame in &state.frames {
        if n > 0 && bytes + frame.len() > MAX_BATCH_BYTES {
            break;
        }
        n += 1;
        bytes += frame.len();
    }
    state.bytes -= bytes;
    state.frames.drain(..n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::tests::hello;

    fn frame(n: usize, b: u8) -> Bytes {
        Bytes::from(vec![b; n])
    }

    fn outward(outbox: &Arc<Outbox>, session: u64) -> Outward {
        let mut stream = Outward::new(outbox.clone(), session, Lane::Append, hello(1));
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Message::Open(Lane::Append, hello(1)))));
        stream
    }

    fn poll(stream: &mut Outward) -> Poll<Option<Message>> {
        stream.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn frames(list: &[Bytes]) -> Poll<Option<Message>> {
        Poll::Ready(Some(Message::Frames(list.to_vec())))
    }

    #[test]
    fn control_forgets_the_oldest_and_append_refuses_the_newest() {
        let control = Arc::new(Outbox::new(Lane::Control, 10));
        let append = Arc::new(Outbox::new(Lane::Append, 10));
        for outbox in [&control, &append] {
            assert_eq!(outbox.push(frame(1, 0)), Pushed::NoSession);
            outbox.open(1);
            assert_eq!(outbox.room(), 10);
            assert_eq!(outbox.push(frame(4, 1)), Pushed::Queued { forgotten: 0 });
            assert_eq!(outbox.push(frame(4, 2)), Pushed::Queued { forgotten: 0 });
            assert_eq!(outbox.room(), 2);
        }
        assert_eq!(control.push(frame(7, 3)), Pushed::Queued { forgotten: 2 });
        assert_eq!(append.push(frame(7, 3)), Pushed::NoRoom);
        assert_eq!(append.push(frame(2, 4)), Pushed::Queued { forgotten: 0 }, "what fits is taken");
        assert_eq!(poll(&mut outward(&control, 1)), frames(&[frame(7, 3)]));
        assert_eq!(poll(&mut outward(&append, 1)), frames(&[frame(4, 1), frame(4, 2), frame(2, 4)]));
    }

    #[test]
    fn a_frame_larger_than_the_bound_travels_alone_and_a_monster_does_not() {
        let outbox = Arc::new(Outbox::new(Lane::Append, 10));
        outbox.open(1);
        assert_eq!(outbox.push(frame(100, 1)), Pushed::Queued { forgotten: 0 });
        assert_eq!(outbox.push(frame(1, 2)), Pushed::NoRoom);
        assert_eq!(poll(&mut outward(&outbox, 1)), frames(&[frame(100, 1)]));
        assert_eq!(outbox.push(frame(MAX_FRAME_BYTES + 1, 3)), Pushed::NoRoom);
    }

    #[test]
    fn what_waits_travels_together_up_to_a_bound() {
        let outbox = Arc::new(Outbox::new(Lane::Append, 64 << 20));
        outbox.open(1);
        let mut stream = outward(&outbox, 1);
        assert_eq!(poll(&mut stream), Poll::Pending);
        let half = MAX_BATCH_BYTES / 2;
        for b in 0..3 {
            outbox.push(frame(half, b));
        }
        outbox.push(frame(MAX_BATCH_BYTES * 3, 3));
        outbox.ping(9);
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Message::Ping(9))), "a ping does not queue behind frames");
        assert_eq!(poll(&mut stream), frames(&[frame(half, 0), frame(half, 1)]));
        assert_eq!(poll(&mut stream), frames(&[frame(half, 2)]));
        assert_eq!(poll(&mut stream), frames(&[frame(MAX_BATCH_BYTES * 3, 3)]));
        assert_eq!(poll(&mut stream), Poll::Pending);
        assert_eq!(outbox.room(), 64 << 20);
    }

    #[test]
    fn a_session_never_takes_the_frames_of_another() {
        let outbox = Arc::new(Outbox::new(Lane::Append, 100));
        let (mut first, mut second) = (outward(&outbox, 1), outward(&outbox, 2));
        assert_eq!(poll(&mut first), Poll::Pending, "not open yet");
        outbox.open(1);
        outbox.push(frame(1, 1));
        assert_eq!(poll(&mut second), Poll::Pending, "not its frames");
        assert_eq!(outbox.close(1), 1, "one frame was lost");
        assert_eq!(poll(&mut first), Poll::Ready(None));
        outbox.open(2);
        assert_eq!(poll(&mut second), Poll::Pending, "what the first left is gone");
        outbox.push(frame(1, 2));
        outbox.finish();
        assert_eq!(outbox.push(frame(1, 3)), Pushed::NoSession);
        assert_eq!(poll(&mut second), frames(&[frame(1, 2)]), "finishing still sends what waits");
        assert_eq!(poll(&mut second), Poll::Ready(None));
        outbox.close(2);
        assert_eq!(poll(&mut outward(&outbox, 2)), Poll::Ready(None), "an ended session never comes back");
    }
}
