//! CPU time of processes, user and system, from `/proc/<pid>/stat`.

use std::time::Duration;

/// CPU that all these processes have used so far.
pub fn of_all(pids: &[u32]) -> Result<Duration, String> {
    pids.iter().map(|pid| of(&pid.to_string())).sum()
}

/// CPU that this process has used so far.
pub fn own() -> Result<Duration, String> {
    of("self")
}

fn of(pid: &str) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    parse(&text, rustix::param::clock_ticks_per_second()).ok_or_else(|| format!("{path} is not understood"))
}

/// Fields 14 and 15, counted after the program's name, which may hold blanks and parentheses.
fn parse(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_secs_f64((user + system) as f64 / ticks_per_second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(parse(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(parse("42 (a", 100), None);
    }

    #[test]
    fn our_own_time_grows() {
        let before = own().unwrap();
        let until = std::time::Instant::now() + Duration::from_millis(100);
        while std::time::Instant::now() < until {}
        assert!(own().unwrap() > before);
    }
}
