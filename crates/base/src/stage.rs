//! The stations of a Put, in order. `docs/put.md`, the metric `flotilla_stage_seconds{stage=…}` and the simulator's
//! trace use the same list; `tests/tidy.rs` checks that each is marked exactly once in the code.

/// One station.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Stage {
    /// gateway: protobuf → command, with a deadline
    Put,
    /// router: key → range → leader
    Plan,
    /// node: the one door into a node
    Submit,
    /// range: what would this command change?
    Evaluate,
    /// range: the next revisions, in evaluation order
    Number,
    /// raft: all that one step proposes to one range is one entry
    Append,
    /// node: one frame per peer
    FrameAll,
    /// node: one batch, one fsync
    WriteAll,
    /// raft: on each peer; the ack waits for the peer's own fsync
    OnAppend,
    /// raft: a quorum has it
    Commit,
    /// range: the reply leaves
    Complete,
    /// range: the effects go into the next batch
    Apply,
}

impl Stage {
    /// All stations, in the order of the road.
    pub const ALL: [Stage; 12] = [
        Stage::Put,
        Stage::Plan,
        Stage::Submit,
        Stage::Evaluate,
        Stage::Number,
        Stage::Append,
        Stage::FrameAll,
        Stage::WriteAll,
        Stage::OnAppend,
        Stage::Commit,
        Stage::Complete,
        Stage::Apply,
    ];

    /// The station's name in metrics and docs.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Put => "put",
            Stage::Plan => "plan",
            Stage::Submit => "submit",
            Stage::Evaluate => "evaluate",
            Stage::Number => "number",
            Stage::Append => "append",
            Stage::FrameAll => "frame_all",
            Stage::WriteAll => "write_all",
            Stage::OnAppend => "on_append",
            Stage::Commit => "commit",
            Stage::Complete => "complete",
            Stage::Apply => "apply",
        }
    }
}
