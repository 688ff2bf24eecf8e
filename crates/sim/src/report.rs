//! What runs add up to: one table, in which a zero is a failure.

use std::collections::BTreeMap;
use std::fmt;

/// Counted things, by name, in columns that must not be zero, and others.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    pub(crate) counts: BTreeMap<(Part, &'static str), u64>,
    /// Visits of each marker of the production crates.
    pub markers: BTreeMap<&'static str, u64>,
}

/// Parts of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    Faults,
    /// Asked, by verb.
    Asked,
    /// Answered, by verb.
    Answered,
    Protocol,
    Checks,
    /// Shown, but free to be zero.
    Size,
}

impl Part {
    const ALL: [Part; 6] = [Part::Faults, Part::Asked, Part::Answered, Part::Protocol, Part::Checks, Part::Size];

    fn name(self) -> &'static str {
        match self {
            Part::Faults => "faults",
            Part::Asked => "asked",
            Part::Answered => "answered",
            Part::Protocol => "protocol",
            Part::Checks => "checks",
            Part::Size => "size",
        }
    }
}

impl Totals {
    /// Counts `n` more.
    pub fn add(&mut self, part: Part, name: &'static str, n: u64) {
        *self.counts.entry((part, name)).or_insert(0) += n;
    }
    /// So many so far.
    pub fn get(&self, part: Part, name: &'static str) -> u64 {
        self.counts.get(&(part, name)).copied().unwrap_or(0)
    }
    /// All of a part.
    pub fn sum(&self, part: Part) -> u64 {
        self.counts.iter().filter(|((p, _), _)| *p == part).map(|(_, n)| n).sum()
    }
    /// How many kinds of a part happened at all.
    pub fn kinds(&self, part: Part) -> usize {
        self.counts.iter().filter(|((p, _), n)| *p == part && **n > 0).count()
    }
    /// Adds another run.
    pub fn merge(&mut self, other: &Totals) {
        for ((part, name), n) in &other.counts {
            self.add(*part, name, *n);
        }
        for (name, n) in &other.markers {
            *self.markers.entry(name).or_insert(0) += n;
        }
    }
    /// What never happened although it is counted: a run in which it matters has shown nothing about it.
    pub fn zeros(&self) -> Vec<String> {
        let zero = |((part, name), n): (&(Part, &'static str), &u64)| {
            (*n == 0 && *part != Part::Size).then(|| format!("{} {name}", part.name()))
        };
        self.counts.iter().filter_map(zero).collect()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in Part::ALL {
            let mut column = 0;
            let of_part = self.counts.iter().filter(|((p, _), _)| *p == part);
            for ((_, name), n) in of_part {
                let title = if column == 0 { part.name() } else { "" };
                match column % 4 {
                    0 => write!(f, "{title:<10}")?,
                    _ => write!(f, "  ")?,
                }
                write!(f, "{name:<22}{n:>12}")?;
                column += 1;
                if column % 4 == 0 {
                    writeln!(f)?;
                }
            }
            if column % 4 != 0 {
                writeln!(f)?;
            }
        }
        writeln!(f, "{:<10}{:<22}{:>12}", "markers", "visited", self.markers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_is_seen_and_sums_are_sums() {
        let mut a = Totals::default();
        a.add(Part::Faults, "crash", 2);
        a.add(Part::Faults, "pause", 0);
        a.add(Part::Size, "stragglers", 0);
        assert_eq!(a.zeros(), ["faults pause"]);
        let mut b = Totals::default();
        b.add(Part::Faults, "pause", 3);
        b.merge(&a);
        assert!(b.zeros().is_empty());
        assert_eq!((b.sum(Part::Faults), b.kinds(Part::Faults)), (5, 2));
        assert!(b.to_string().contains("crash"));
    }
}
