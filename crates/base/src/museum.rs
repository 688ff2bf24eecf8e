//! The museum of classic bugs: each is planted behind a name, at most one at a time, and must be found by the
//! simulator. Only builds with the feature `museum` can plant one; the binary cannot.

#[cfg(feature = "museum")]
thread_local! {
    static PLANTED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

/// Plants this bug on this thread; `""` removes it.
#[cfg(feature = "museum")]
pub fn plant(name: &'static str) {
    PLANTED.with(|p| p.set(name));
}

/// Is this the planted bug?
#[cfg(feature = "museum")]
pub fn planted(name: &str) -> bool {
    PLANTED.with(|p| p.get() == name)
}

/// Plants each bug while its test runs, on this thread.
///
/// # Panics
///
/// If a test passes all the same: it does not notice the bug.
#[cfg(feature = "museum")]
pub fn each_is_noticed(cases: &[(&'static str, fn())]) {
    for (bug, test) in cases {
        plant(bug);
        let failed = std::panic::catch_unwind(test).is_err();
        plant("");
        assert!(failed, "{bug} is not noticed");
    }
}

/// Is the named bug planted? Constantly false without the feature `museum`.
#[cfg(feature = "museum")]
#[macro_export]
macro_rules! bug {
    ($name:literal) => {
        $crate::museum::planted($name)
    };
}

/// Is the named bug planted? Constantly false without the feature `museum`.
#[cfg(not(feature = "museum"))]
#[macro_export]
macro_rules! bug {
    ($name:literal) => {
        false
    };
}
