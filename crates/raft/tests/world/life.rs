//! Replicas start and are killed, disks rot, time passes.

use super::World;
use base::Tick;
use raft::{Boot, Config, Group, LogBounds, Supports};

impl World {
    /// Boots a replica from its disk.
    pub fn start(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let cfg = Config { replica: node.member.replica, store: node.member.store, ..self.base.clone() };
        node.disk.recover();
        let boot = Boot {
            hard: node.disk.hard,
            conf: node.disk.view.conf.clone(),
            log: LogBounds { truncated: node.disk.truncated, last: node.disk.last() },
            applied: node.disk.view.applied,
        };
        node.view = node.disk.view.clone();
        node.group = Some(Group::new(cfg, boot));
    }

    /// Kills a replica: of its writes under way the first `kept` are durable all the same.
    pub fn crash(&mut self, n: usize, kept: usize) {
        let node = &mut self.nodes[n];
        for write in node.writes.drain(..).take(kept) {
            node.disk.write(write);
        }
        node.group = None;
        node.reads.clear();
        // what it relied on and what it promised was in memory
        node.supports = Supports::new(node.supports.own_store(), node.supports.own_incarnation());
        self.ghost.crashed(&self.nodes[n]);
    }

    /// The disk of a replica that is down loses the last `entries` of its log, durable or not.
    pub fn rot(&mut self, n: usize, entries: usize) {
        let node = &mut self.nodes[n];
        assert!(node.group.is_none(), "an open disk does not rot");
        let left = node.disk.log.len() - entries;
        node.disk.log.truncate(left);
        node.rotten = true;
        self.ghost.crashed(&self.nodes[n]);
    }

    /// Delivers and completes until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let busy = (0..self.nodes.len()).find(|n| !self.nodes[*n].writes.is_empty() && self.is_up(*n));
            match busy {
                Some(n) => self.complete(n),
                None if !self.net.is_empty() => self.deliver(0),
                None => return,
            }
        }
        panic!("the world does not come to rest");
    }

    /// Time passes; deadlines that come by are called in order.
    pub fn pass(&mut self, by: Tick, settle: bool) {
        let end = self.now + by;
        loop {
            let next = (0..self.nodes.len())
                .filter_map(|n| self.nodes[n].group.as_ref().map(|g| (g.next_deadline(), n)))
                .min()
                .filter(|(at, _)| *at <= end);
            let Some((at, n)) = next else { break };
            self.now = self.now.max(at);
            self.call(n, |g, ctx, out| g.deadline(ctx, out));
            if settle {
                self.settle();
            }
        }
        self.now = end;
    }
}
