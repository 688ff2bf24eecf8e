//! A measure for what comes next.

/// The most there was of late, now that there is `now`: an eighth less each time until there is more again.
pub fn most_of_late(before: usize, now: usize) -> usize {
    now.max(before - before / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_at_once_and_shrinks_slowly() {
        assert_eq!(most_of_late(0, 0), 0);
        assert_eq!(most_of_late(10, 400), 400);
        assert_eq!(most_of_late(400, 10), 350);
        assert!((0..40).fold(400, |most, _| most_of_late(most, 0)) < 10);
    }
}
