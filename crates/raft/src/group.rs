//! One replica of one group: its state, and the doors through which everything enters.

use crate::fortify::Fortified;
use crate::lead::Lead;
use crate::log::Log;
use crate::{Became, Boot, Conf, Config, Ctx, Entry, HardState, LogRead, Member, Message, Output, PeerState, Role};
use base::{Index, ReplicaId, Result, Term, Tick, marker};

/// One replica.
///
/// What holds between any two calls ([`Group::check`]):
///
/// * `truncated ≤ applied ≤ commit ≤ last` and `written ≤ last`; none of term, commit and applied ever falls;
/// * `lead` is there exactly when the role is leader, and then `leader` is this replica;
/// * a leader's log ends in its own term, and nothing of an earlier term is committed by counting copies;
/// * while `fortified` and its store supports that epoch, this replica neither campaigns nor votes for another.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) cfg: Config,
    pub(crate) conf: Conf,
    /// The entry that led to `conf` (0: the one it booted with).
    pub(crate) conf_index: Index,
    pub(crate) log: Log,
    pub(crate) hard: HardState,
    pub(crate) role: Role,
    /// The leader of the present term.
    pub(crate) leader: Option<Member>,
    pub(crate) lead: Option<Box<Lead>>,
    /// Answers to the present campaign.
    pub(crate) votes: Vec<(ReplicaId, bool)>,
    /// The leader of this term told us to take over; travels in our requests for votes.
    pub(crate) released: Option<Term>,
    pub(crate) fortified: Option<Fortified>,
    /// When the leader of the present term was last heard.
    pub(crate) heard: Tick,
    /// When to campaign; [`Tick::FAR`] while fortified, and on a leader.
    pub(crate) election: Tick,
    /// Campaigns since a leader was last heard; they slow down.
    pub(crate) tries: u8,
    /// How often in a row a campaign was put off because it would have been in vain.
    pub(crate) put_off: u8,
    /// Led this term, leads no more, repeats so until a new leader is heard; when to say it next.
    pub(crate) defortify: Option<(Term, Tick)>,
    /// The number of the last read round.
    pub(crate) rounds: u64,
    /// The first turn after boot has armed the election.
    pub(crate) awake: bool,
    pub(crate) stopped: bool,
}

impl Group {
    /// The replica as its disk remembers it. It asks for a turn at once ([`Group::next_deadline`]).
    ///
    /// # Panics
    /// If the log does not reach from its beginning to what was applied: the disk lost something that was synced.
    pub fn new(cfg: Config, boot: Boot) -> Group {
        let mut hard = boot.hard;
        if base::bug!("vote-forgotten-on-restart") {
            hard.vote = None;
        }
        if hard.term < boot.log.last.1 {
            // a log without a hard state: a snapshot's, a split's, or a bootstrap's
            hard = HardState { term: boot.log.last.1, vote: None };
        }
        Group {
            cfg,
            conf: boot.conf,
            conf_index: Index(0),
            log: Log::new(boot.log, boot.applied),
            hard,
            role: Role::Follower,
            leader: None,
            lead: None,
            votes: Vec::new(),
            released: None,
            fortified: None,
            heard: Tick::ZERO,
            election: Tick::FAR,
            tries: 0,
            put_off: 0,
            defortify: None,
            rounds: 0,
            awake: false,
            stopped: false,
        }
    }

    /// A message from another replica of this group, which is on the store that the frame came from.
    pub fn receive(&mut self, ctx: &mut Ctx, from: Member, msg: Message, out: &mut Output) {
        if from.replica == self.cfg.replica {
            return;
        }
        self.wake(ctx);
        match msg {
            Message::Append(m) => self.on_append(ctx, from, m, out),
            Message::AppendAck(m) => self.on_append_ack(ctx, from, m, out),
            Message::AppendReject(m) => self.on_append_reject(ctx, from, m, out),
            Message::PreVote(m) => self.on_pre_vote(ctx, from, m, out),
            Message::PreVoteAck(m) => self.on_pre_vote_ack(ctx, from, m, out),
            Message::Vote(m) => self.on_vote(ctx, from, m, out),
            Message::VoteAck(m) => self.on_vote_ack(ctx, from, m, out),
            Message::Defortify { term } => self.on_defortify(ctx, from, term),
            Message::TimeoutNow { term } => self.on_timeout_now(ctx, from, term, out),
            Message::ReadIndex { term, round } => self.on_read_index(ctx, from, (term, round), out),
            Message::ReadIndexAck { term, round } => self.on_read_index_ack(ctx, from, (term, round), out),
            Message::Removed { since } => self.on_removed(since, out),
        }
    }

    /// The write with this [`Output::mark`] is durable. Marks come back in the order in which they were given.
    pub fn written(&mut self, ctx: &mut Ctx, term: Term, index: Index, out: &mut Output) {
        if term != self.hard.term && !base::bug!("written-aba") {
            // Since then a leader of another term may have overwritten the entry, and one of a third term may have
            // put an equal one in its place, whose write is still under way. The present term's first entry will
            // bring a mark of its own.
            marker!("raft.written.of_an_old_term");
            return;
        }
        if index > self.log.written {
            marker!("raft.written");
            self.log.written = index.min(self.log.last.0);
        }
        match self.role {
            Role::Candidate => self.own_vote_written(ctx, out),
            Role::Leader => self.maybe_commit(ctx, out),
            Role::Follower | Role::PreCandidate => {}
        }
        self.trim();
    }

    /// The node has applied everything up to `index`. Takes back the memory of what is durable too.
    pub fn applied(&mut self, ctx: &mut Ctx, index: Index, out: &mut Output) {
        let _ = (ctx, out);
        assert!(index <= self.log.commit, "applied {index} beyond commit {}", self.log.commit);
        self.log.applied = self.log.applied.max(index);
        self.trim();
    }

    /// The log up to `to` (inclusive), whose term is `term`, is gone from the disk, or will be by the time that the
    /// next write is durable.
    ///
    /// # Panics
    /// If `to` is not applied.
    pub fn truncate(&mut self, to: Index, term: Term) {
        if to <= self.log.truncated.0 {
            return;
        }
        marker!("raft.log.truncated");
        assert!(to <= self.log.applied, "truncated to {to}, applied only {}", self.log.applied);
        self.log.truncated = (to, term);
        self.log.trim(to);
    }

    /// Entries `[from, to_inclusive]`, from memory or from the durable log, cut after `max_bytes` but never before the
    /// first. May stop early where memory begins: ask again from there.
    pub fn entries(&self, log: &dyn LogRead, from: Index, to_inclusive: Index, max_bytes: usize) -> Result<Vec<Entry>> {
        self.log.entries(log, from, to_inclusive, max_bytes)
    }

    /// The term of the entry at `index`, if the log has it or it is the last truncated one.
    pub fn term_at(&self, log: &dyn LogRead, index: Index) -> Option<Term> {
        self.log.term(index, log)
    }

    /// The first index that is still in memory: entries from here on cost no disk read.
    pub fn memory_from(&self) -> Index {
        self.log.tail_first()
    }

    /// Lets entries go that are durable, applied and, while few, also sent to everybody who keeps up.
    pub(crate) fn trim(&mut self) {
        let mut limit = self.log.last.0;
        if let Some(lead) = &self.lead
            && self.log.tail_bytes() <= self.cfg.max_inflight_bytes
        {
            limit = lead.sent_to_all(limit);
        }
        self.log.trim(limit);
        if self.log.commit == self.log.last.0
            && let Some(lead) = &mut self.lead
        {
            lead.rest();
        }
    }

    /// Raises the commit index.
    pub(crate) fn set_commit(&mut self, ctx: &Ctx, to: Index, out: &mut Output) {
        assert!(to > self.log.commit && to <= self.log.last.0, "commit {} to {to}", self.log.commit);
        self.log.commit = to;
        let term = self.log.term(to, ctx.log).unwrap_or(self.log.last.1);
        out.commit = Some((to, term));
    }

    /// Raises the term (with no vote yet) or sets the vote, and asks for it to be written.
    pub(crate) fn set_hard(&mut self, hard: HardState, out: &mut Output) {
        assert!(hard.term >= self.hard.term, "the term falls from {} to {}", self.hard.term, hard.term);
        self.hard = hard;
        out.hard = Some(hard);
        let index = out.mark.filter(|(term, _)| *term == hard.term).map_or(Index(0), |(_, index)| index);
        out.mark = Some((hard.term, index));
    }

    /// Appends an entry of the present term's leader to log and output.
    pub(crate) fn push(&mut self, entry: Entry, out: &mut Output) {
        out.mark = Some((self.hard.term, entry.index));
        out.append.push(entry.clone());
        self.log.push(entry);
    }

    /// Sets role and leader, and tells the node if either changed.
    pub(crate) fn set_role(&mut self, role: Role, leader: Option<Member>, out: &mut Output) {
        let lost = self.role == Role::Leader || out.became.is_some_and(|b| b.lost_leadership);
        (self.role, self.leader) = (role, leader);
        out.became = Some(Became { role, term: self.hard.term, leader, lost_leadership: lost });
    }

    /// The first turn after boot: nobody is fortified, so the election is armed.
    pub(crate) fn wake(&mut self, ctx: &mut Ctx) {
        if !self.awake {
            self.awake = true;
            self.arm_election(ctx);
        }
    }

    /// Who this replica is.
    pub fn member(&self) -> Member {
        self.cfg.member()
    }

    /// Its limits.
    pub fn config(&self) -> &Config {
        &self.cfg
    }

    /// The role now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Is this replica the leader?
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// The leader of the present term, if known.
    pub fn leader(&self) -> Option<Member> {
        self.leader
    }

    /// The present term.
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// Whom this replica voted for in the present term.
    pub fn vote(&self) -> Option<ReplicaId> {
        self.hard.vote
    }

    /// The committed index.
    pub fn commit(&self) -> Index {
        self.log.commit
    }

    /// How far the node has applied.
    pub fn applied_index(&self) -> Index {
        self.log.applied
    }

    /// How far this replica's own log is durable.
    pub fn written_index(&self) -> Index {
        self.log.written
    }

    /// The last entry that is no longer in the log.
    pub fn truncated(&self) -> (Index, Term) {
        self.log.truncated
    }

    /// The last entry.
    pub fn last(&self) -> (Index, Term) {
        self.log.last
    }

    /// The configuration in force: that of the last applied change.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }

    /// On a leader: the index of its own first entry. It serves nothing before it has applied that one.
    pub fn term_start(&self) -> Option<Index> {
        self.lead.as_ref().map(|lead| lead.term_start)
    }

    /// On a leader: how far that member's durable log is known to equal ours.
    pub fn matched(&self, replica: ReplicaId) -> Option<Index> {
        let lead = self.lead.as_ref()?;
        if replica == self.cfg.replica {
            return Some(self.log.written);
        }
        lead.peer(replica).map(|p| p.matched)
    }

    /// On a leader: every other member and its state, for truncation, placement and metrics.
    pub fn progress(&self) -> Vec<PeerState> {
        self.lead
            .as_ref()
            .map(|lead| lead.peers.iter().map(crate::progress::Progress::state).collect())
            .unwrap_or_default()
    }

    /// Bytes on the heap, payloads of entries in memory included.
    pub fn heap_bytes(&self) -> usize {
        self.conf.heap_bytes()
            + self.log.heap_bytes()
            + self.votes.capacity() * size_of::<(ReplicaId, bool)>()
            + self.lead.as_ref().map_or(0, |lead| size_of::<Lead>() + lead.heap_bytes())
    }
}
