//! The ratchet: known offenders with their numbers, which may only fall. A new offender fails the test, and so does an
//! old one that has improved without its number being lowered (`make ratchet` lowers them).

use super::Offence;
use std::collections::BTreeMap;

/// (rule, place) → number.
pub type Ratchet = BTreeMap<(String, String), usize>;

/// Reads lines of `rule number place`; `#` opens a comment.
pub fn read(text: &str) -> Result<Ratchet, String> {
    let mut out = Ratchet::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (Some(rule), Some(number), Some(place)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("tests/tidy.ratchet: `{line}` is not `rule number place`"));
        };
        let number = number.parse().map_err(|_| format!("tests/tidy.ratchet: `{number}` is no number"))?;
        out.insert((rule.to_string(), place.to_string()), number);
    }
    Ok(out)
}

/// What is worse than the ratchet allows, and what is better than it says.
pub fn compare(offences: &[Offence], ratchet: &Ratchet) -> Vec<String> {
    let mut found = Ratchet::new();
    let mut out = Vec::new();
    for o in offences {
        *found.entry((o.rule.to_string(), o.place.clone())).or_insert(0) += o.number;
    }
    for o in offences {
        let key = (o.rule.to_string(), o.place.clone());
        let Some(number) = found.get(&key) else { continue };
        match ratchet.get(&key) {
            None => out.push(format!("{} {} {}: {}", o.rule, number, o.place, o.says)),
            Some(allowed) if number > allowed => {
                out.push(format!("{} {} {} (at most {allowed}): {}", o.rule, number, o.place, o.says));
            }
            Some(_) => {}
        }
    }
    for ((rule, place), allowed) in ratchet {
        let now = found.get(&(rule.clone(), place.clone())).copied().unwrap_or(0);
        if now < *allowed {
            out.push(format!("{rule} {allowed} {place} is better now ({now}): run `make ratchet` to keep it so"));
        }
    }
    out.dedup();
    out
}

/// The ratchet one notch further: each number as it is now, but never higher, and nobody new.
pub fn lower(offences: &[Offence], ratchet: &Ratchet) -> Ratchet {
    let mut found = Ratchet::new();
    for o in offences {
        *found.entry((o.rule.to_string(), o.place.clone())).or_insert(0) += o.number;
    }
    let kept = ratchet.iter().filter_map(|(key, allowed)| found.get(key).map(|now| (key.clone(), *now.min(allowed))));
    kept.collect()
}

pub fn print(ratchet: &Ratchet) -> String {
    let mut out = String::from(
        "# Known offenders against the law of tests/tidy.rs: rule, number, place. Numbers may only fall and lines may only\n\
         # go (`make ratchet` writes them anew); a new offender is repaired, not listed.\n",
    );
    for ((rule, place), number) in ratchet {
        out.push_str(&format!("{rule} {number} {place}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(number: usize) -> Vec<Offence> {
        vec![Offence::new("file-lines", "a b.rs", number, "")]
    }

    #[test]
    fn a_new_offender_a_worse_one_and_a_better_one_fail() {
        let ratchet = read("# why\nfile-lines 600 a b.rs\n").expect("well formed");
        assert_eq!(compare(&long(600), &ratchet), [""; 0]);
        assert_eq!(compare(&long(601), &ratchet).len(), 1);
        assert_eq!(compare(&long(599), &ratchet).len(), 1);
        assert_eq!(compare(&[], &ratchet).len(), 1);
        assert_eq!(compare(&long(600), &Ratchet::new()).len(), 1);
    }

    #[test]
    fn lowering_never_raises_and_never_adds() {
        let ratchet = read("file-lines 600 a b.rs\n").expect("well formed");
        assert_eq!(lower(&long(700), &ratchet), ratchet);
        assert_eq!(
            read(&print(&lower(&long(550), &ratchet))).expect("reads back").values().copied().collect::<Vec<_>>(),
            [550]
        );
        assert_eq!(lower(&long(550), &Ratchet::new()), Ratchet::new());
        assert_eq!(lower(&[], &ratchet), Ratchet::new());
    }

    #[test]
    fn a_broken_line_is_refused() {
        assert!(read("file-lines a.rs").is_err());
        assert!(read("file-lines many a.rs").is_err());
    }
}
