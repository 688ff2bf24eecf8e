//! What store liveness says: which store supports which, under which epoch, until when.
//!
//! The crate `node` keeps one of these per node, fed by beats; every group of the node reads it. It is plain data: it
//! decides nothing and knows no clock.

use base::{Incarnation, StoreId, Tick};
use std::fmt;

/// Names one promise of support: asked for by a store in this incarnation, with the counter it keeps for that pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SupportEpoch {
    /// The asking store's incarnation.
    pub incarnation: Incarnation,
    /// The asking store's counter for this ordered pair; a withdrawn number never comes back.
    pub n: u64,
}

impl fmt::Display for SupportEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.n)
    }
}

/// The support that another store gives to us, as far as we may rely on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Received {
    /// Our own incarnation and our counter toward that store.
    pub epoch: SupportEpoch,
    /// The incarnation of the store that promised: a restarted one has forgotten what its replicas promised.
    pub incarnation: Incarnation,
    /// On our clock, already reduced for drift: send time + D(1-ρ)/(1+ρ).
    pub until: Tick,
}

/// Everything between us and one other store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Pair {
    store: StoreId,
    given: Option<SupportEpoch>,
    received: Option<Received>,
    vouches: Vec<StoreId>,
}

/// What this store knows about support in both directions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Supports {
    own: StoreId,
    incarnation: Incarnation,
    own_until: Tick,
    pairs: Vec<Pair>,
    /// Until then this store votes for nobody: it may have promised before its restart.
    pub voting_allowed_from: Tick,
    /// Off for those who distrust their clocks: then no group holds a lease, and reads take quorum rounds.
    pub leases_enabled: bool,
}

impl Supports {
    /// Nothing known of any other store; the own store supports itself for ever, votes at once and takes leases.
    pub fn new(own: StoreId, incarnation: Incarnation) -> Supports {
        let (own_until, voting_allowed_from) = (Tick::FAR, Tick::ZERO);
        Supports { own, incarnation, own_until, pairs: Vec::new(), voting_allowed_from, leases_enabled: true }
    }

    /// The store that this is about.
    pub fn own_store(&self) -> StoreId {
        self.own
    }

    /// Its incarnation.
    pub fn own_incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Bounds the support that the own store gives itself (the gate of disk progress); [`Tick::FAR`] lifts the bound.
    pub fn set_own_until(&mut self, until: Tick) {
        self.own_until = until;
    }

    /// We support `store` under this epoch; `None`: we withdrew, or never did.
    pub fn set_given(&mut self, store: StoreId, epoch: Option<SupportEpoch>) {
        if store != self.own {
            self.pair_mut(store).given = epoch;
        }
    }

    /// `store` supports us; `None`: it does not.
    pub fn set_received(&mut self, store: StoreId, received: Option<Received>) {
        if store != self.own {
            self.pair_mut(store).received = received;
        }
    }

    /// The stores that `store` supports, as its last beat said.
    pub fn set_vouched(&mut self, store: StoreId, mut stores: Vec<StoreId>) {
        if store != self.own {
            stores.sort_unstable();
            self.pair_mut(store).vouches = stores;
        }
    }

    /// Forgets a store.
    pub fn forget(&mut self, store: StoreId) {
        self.pairs.retain(|p| p.store != store);
    }

    /// Was anything ever said about this store? Without store liveness (some tests) nothing ever is.
    pub fn knows(&self, store: StoreId) -> bool {
        store == self.own || self.pair(store).is_some()
    }

    /// The epoch under which we support `store` now. The own store always supports itself.
    pub fn given(&self, store: StoreId) -> Option<SupportEpoch> {
        if store == self.own {
            return Some(self.own_epoch());
        }
        self.pair(store)?.given
    }

    /// The support that `store` gives to us.
    pub fn received(&self, store: StoreId) -> Option<Received> {
        if store == self.own {
            let until = self.own_until;
            return Some(Received { epoch: self.own_epoch(), incarnation: self.incarnation, until });
        }
        self.pair(store)?.received
    }

    /// Does `store`, as far as its beats say, support `other`?
    pub fn vouches(&self, store: StoreId, other: StoreId) -> bool {
        if store == self.own {
            return self.given(other).is_some();
        }
        store == other || self.pair(store).is_some_and(|p| p.vouches.binary_search(&other).is_ok())
    }

    fn own_epoch(&self) -> SupportEpoch {
        SupportEpoch { incarnation: self.incarnation, n: 0 }
    }

    fn pair(&self, store: StoreId) -> Option<&Pair> {
        self.pairs.binary_search_by_key(&store, |p| p.store).ok().map(|at| &self.pairs[at])
    }

    fn pair_mut(&mut self, store: StoreId) -> &mut Pair {
        let at = match self.pairs.binary_search_by_key(&store, |p| p.store) {
            Ok(at) => at,
            Err(at) => {
                self.pairs.insert(at, Pair { store, ..Pair::default() });
                at
            }
        };
        &mut self.pairs[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_supports_itself_and_remembers_what_others_say() {
        let (own, other, third) = (StoreId(1), StoreId(2), StoreId(3));
        let mut s = Supports::new(own, Incarnation(4));
        let own_epoch = SupportEpoch { incarnation: Incarnation(4), n: 0 };
        assert_eq!((s.own_store(), s.own_incarnation()), (own, Incarnation(4)));
        assert_eq!((s.given(own), s.given(other), s.received(other)), (Some(own_epoch), None, None));
        assert!(s.knows(own) && !s.knows(other));
        s.set_own_until(Tick::ms(5));
        let itself = Received { epoch: own_epoch, incarnation: Incarnation(4), until: Tick::ms(5) };
        assert_eq!(s.received(own), Some(itself));

        let epoch = SupportEpoch { incarnation: Incarnation(9), n: 1 };
        let received = Received { epoch: own_epoch, incarnation: Incarnation(9), until: Tick::ms(7) };
        s.set_given(other, Some(epoch));
        s.set_received(third, Some(received));
        assert_eq!((s.given(other), s.received(other)), (Some(epoch), None));
        assert_eq!((s.given(third), s.received(third)), (None, Some(received)));
        assert!(s.knows(other) && s.knows(third) && !s.knows(StoreId(4)));
        s.forget(other);
        assert!(!s.knows(other) && s.knows(third));
    }

    #[test]
    fn nobody_changes_what_a_store_thinks_of_itself() {
        let own = StoreId(1);
        let mut s = Supports::new(own, Incarnation(4));
        let before = s.clone();
        s.set_given(own, None);
        s.set_received(own, None);
        s.set_vouched(own, vec![StoreId(2)]);
        assert_eq!(s, before);
    }

    #[test]
    fn who_vouches_for_whom() {
        let mut s = Supports::new(StoreId(1), Incarnation(4));
        s.set_vouched(StoreId(2), vec![StoreId(9), StoreId(3)]);
        assert!(s.vouches(StoreId(2), StoreId(3)) && s.vouches(StoreId(2), StoreId(9)));
        assert!(s.vouches(StoreId(2), StoreId(2)), "everybody stands by itself");
        assert!(!s.vouches(StoreId(2), StoreId(4)) && !s.vouches(StoreId(3), StoreId(2)));
        assert!(s.vouches(StoreId(1), StoreId(1)) && !s.vouches(StoreId(1), StoreId(2)));
        s.set_given(StoreId(2), Some(SupportEpoch { incarnation: Incarnation(1), n: 1 }));
        assert!(s.vouches(StoreId(1), StoreId(2)));
    }
}
