//! Markers: a name at every protocol step. Behind the feature `sim` the simulator counts them and may crash, pause or
//! cut there; the binary has none.

// Markers are visited many times per step, so a visit must cost next to nothing: a table with open places, found by the
// address of the name. Where a name lies differs from build to build, and only `take` looks at the whole.
#[cfg(feature = "sim")]
const PLACES: usize = 2048;

#[cfg(feature = "sim")]
thread_local! {
    static SEEN: std::cell::RefCell<Vec<(&'static str, u64)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Counts one visit on this thread's simulated world.
#[cfg(feature = "sim")]
pub fn visit(name: &'static str) {
    SEEN.with(|s| {
        let mut seen = s.borrow_mut();
        if seen.is_empty() {
            seen.resize(PLACES, ("", 0));
        }
        let first = (name.as_ptr() as usize).wrapping_mul(0x9e37_79b9) >> 7;
        for step in 0..PLACES {
            let place = &mut seen[(first + step) % PLACES];
            if place.0.is_empty() {
                place.0 = name;
            }
            if std::ptr::eq(place.0, name) {
                place.1 += 1;
                return;
            }
        }
        unreachable!("there are fewer markers than places");
    });
}

/// Takes the counts of this thread and starts anew.
#[cfg(feature = "sim")]
pub fn take() -> std::collections::BTreeMap<&'static str, u64> {
    let mut all = std::collections::BTreeMap::new();
    SEEN.with(|s| {
        for (name, n) in s.borrow_mut().iter_mut().filter(|(_, n)| *n > 0) {
            *all.entry(*name).or_insert(0) += std::mem::take(n);
        }
    });
    all
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
