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
