//! The only place here that touches the world outside: what the command line says, a clock, and lines for people.

/// The words after the program's name.
#[expect(clippy::disallowed_methods, reason = "a person says which world is wanted")]
pub fn words() -> Vec<String> {
    std::env::args().skip(1).collect()
}

/// A line for whoever looks.
#[expect(clippy::disallowed_macros, reason = "a person reads along")]
pub fn say(line: &str) {
    println!("{line}");
}

/// How long something takes to run. No world sees it.
#[expect(clippy::disallowed_types, reason = "a person wants to know how long it takes")]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Begins now.
    #[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a person wants to know how long it takes")]
    pub fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    /// Seconds since it began.
    #[expect(clippy::disallowed_methods, reason = "a person wants to know how long it takes")]
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
