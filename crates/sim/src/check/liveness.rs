//! What must hold some time after everything was healed.

use super::{Rule, Rules, Violation};
use base::{Index, RangeId, StoreId};

/// One range, as seen at the end of a healed world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealedRange {
    pub range: RangeId,
    /// Stores whose replica leads.
    pub leaders: Vec<StoreId>,
    /// Each replica: store, whom it follows, applied index, hash of its state.
    pub replicas: Vec<(StoreId, Option<StoreId>, Index, u64)>,
}

impl HealedRange {
    /// Is there one leader, whom all follow?
    pub fn is_settled(&self) -> bool {
        let followed = self.replicas.iter().all(|(_, leader, ..)| leader.as_ref() == self.leaders.first());
        self.leaders.len() == 1 && followed
    }
}

/// The end of a healed world.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Healed {
    pub ranges: Vec<HealedRange>,
    /// Operations asked before the end that nobody answered, each on one line.
    pub unanswered: Vec<String>,
    /// Operations asked after the heal: how many there were, how many succeeded.
    pub served: (u64, u64),
}

/// Checker 6.
pub fn check_liveness(healed: &Healed, rules: &Rules) -> Result<(), Violation> {
    if let Some(first) = healed.unanswered.first() {
        let n = healed.unanswered.len();
        rules.broken(Rule::AllAnswered, || format!("{n} clients still wait, one of them for {first}"))?;
    }
    for r in &healed.ranges {
        if !r.is_settled() {
            rules
                .broken(Rule::OneLeaderEach, || format!("{} has leaders {:?}: {:?}", r.range, r.leaders, r.replicas))?;
        }
        let same = r.replicas.windows(2).all(|w| (w[0].2, w[0].3) == (w[1].2, w[1].3));
        if !same {
            rules.broken(Rule::AllConverged, || format!("{} has not converged: {:?}", r.range, r.replicas))?;
        }
    }
    let (asked, answered) = healed.served;
    if asked == 0 || answered < asked {
        rules.broken(Rule::ServesAgain, || format!("of {asked} operations after the heal {answered} succeeded"))?;
    }
    Ok(())
}
