//! Markers: a name at every protocol step. Behind the feature `sim` the simulator counts them and may crash, pause or
//! cut there; the binary has none.

#[cfg(feature = "sim")]
thread_local! {
    static SEEN: std::cell::RefCell<std::collections::BTreeMap<&'static str, u64>> =
        const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
}

/// Counts one visit on this thread's simulated world.
#[cfg(feature = "sim")]
pub fn visit(name: &'static str) {
    SEEN.with(|s| *s.borrow_mut().entry(name).or_insert(0) += 1);
}

/// Takes the counts of this thread and starts anew.
#[cfg(feature = "sim")]
pub fn take() -> std::collections::BTreeMap<&'static str, u64> {
    SEEN.with(|s| std::mem::take(&mut *s.borrow_mut()))
}

/// Names a protocol step.
#[cfg(feature = "sim")]
#[macro_export]
macro_rules! marker {
    ($name:literal) => {
        $crate::marker::visit($name)
    };
}

/// Names a protocol step; nothing without the feature `sim`.
#[cfg(not(feature = "sim"))]
#[macro_export]
macro_rules! marker {
    ($name:literal) => {
        ()
    };
}
