//! Transactions: compares choose a branch, its operations run in order and see each other, at one revision.
//!
//! As in etcd, all branches are chosen first, nested ones too, on the state before the transaction; then everything
//! that could refuse is checked; only then does the first operation run.

use crate::evaluate::{Stop, Stopped, Turn};
use crate::request::{RangeReq, Reply, Request, TxnReply, TxnReq};
use base::Revision;
use base::error::Refusal;
use engine::Read;

/// Which branch each transaction takes, in the order in which they are come to.
type Branches = std::vec::IntoIter<bool>;

impl<R: Read + ?Sized> Turn<'_, R> {
    pub(crate) fn txn(&mut self, t: &TxnReq) -> Stopped<TxnReply> {
        let mut taken = Vec::new();
        self.choose(t, &mut taken)?;
        self.check(t, &mut taken.clone().into_iter())?;
        self.carry_out(t, &mut taken.into_iter())
    }

    fn choose(&self, t: &TxnReq, taken: &mut Vec<bool>) -> Stopped<()> {
        let holds = self.compares(&t.compares)?;
        taken.push(if base::bug!("txn-branch-swapped") && t.compares.len() > 1 { !holds } else { holds });
        for op in branch(t, taken[taken.len() - 1]) {
            if let Request::Txn(nested) = op {
                self.choose(nested, taken)?;
            }
        }
        Ok(())
    }

    /// Everything that may refuse the whole transaction, before anything is written, in the order of operations.
    fn check(&self, t: &TxnReq, taken: &mut Branches) -> Stopped<()> {
        for op in branch(t, taken.next().unwrap_or_default()) {
            match op {
                Request::Range(r) => self.check_revision(r)?,
                Request::Put(p) => {
                    if (p.ignore_value || p.ignore_lease) && self.source.get_live(&p.key, self.at)?.is_none() {
                        return Err(Refusal::KeyNotFound.into());
                    }
                    if p.lease != 0 {
                        return Err(Refusal::LeaseNotFound.into());
                    }
                }
                Request::Delete(_) => {}
                Request::Txn(nested) => self.check(nested, taken)?,
            }
        }
        Ok(())
    }

    /// A scan that names a revision needs to know which ones exist.
    pub(crate) fn check_revision(&self, r: &RangeReq) -> Stopped<()> {
        if r.revision == Revision::ZERO {
            return Ok(());
        }
        let Some(bounds) = self.bounds else { return Err(Stop::NeedsBounds) };
        if r.revision > bounds.current {
            base::marker!("mvcc.txn names a future revision");
            return Err(Refusal::FutureRevision.into());
        }
        if r.revision < bounds.compacted {
            base::marker!("mvcc.txn names a compacted revision");
            return Err(Refusal::Compacted.into());
        }
        Ok(())
    }

    fn carry_out(&mut self, t: &TxnReq, taken: &mut Branches) -> Stopped<TxnReply> {
        let mut succeeded = taken.next().unwrap_or_default();
        if base::bug!("compare-sees-own-writes") {
            succeeded = self.compares(&t.compares)?;
        }
        let ops = branch(t, succeeded);
        let mut replies = Vec::with_capacity(ops.len());
        for (i, op) in ops.iter().enumerate() {
            self.path.push(i);
            let reply = match op {
                Request::Txn(nested) => {
                    base::marker!("mvcc.nested txn");
                    Reply::Txn(self.carry_out(nested, taken)?)
                }
                op => self.operation(op)?,
            };
            self.path.pop();
            replies.push(reply);
        }
        if succeeded {
            base::marker!("mvcc.txn succeeded");
        }
        if !succeeded {
            base::marker!("mvcc.txn failed");
        }
        Ok(TxnReply { succeeded, replies })
    }
}

fn branch(t: &TxnReq, succeeded: bool) -> &[Request] {
    if succeeded { &t.success } else { &t.failure }
}
