//! The outermost layer of the binary: which subcommand, what to print, which exit code.

mod help;
mod parent;

use crate::config::{self, Complaint, Merged, Settings, flags};
use crate::{bench, demo, logging, metrics, shell};
use std::path::Path;
use std::process::ExitCode;

/// The etcd version that clients are told when they ask for one.
pub const ETCD_VERSION: &str = "3.6.5";
/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything `flotilla` can do, for `help` and for the nearest name.
const COMMANDS: [&str; 6] = ["start", "demo", "bench", "config", "version", "help"];

/// Run the binary with the process's own arguments and environment.
pub fn run() -> ExitCode {
    let line: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let program = line.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    let words = line.get(1..).unwrap_or_default();
    let outcome = match program {
        Some("etcd") => start(words),
        _ => subcommand(words),
    };
    match outcome {
        Ok(code) => code,
        Err(complaint) => {
            eprintln!("{}: {complaint}", program.unwrap_or("flotilla"));
            ExitCode::FAILURE
        }
    }
}

fn subcommand(words: &[String]) -> Result<ExitCode, Complaint> {
    let Some((first, rest)) = words.split_first() else {
        eprint!("{}", help::overview());
        return Ok(ExitCode::from(2));
    };
    match first.as_str() {
        "start" => start(rest),
        "demo" => demo::run(rest),
        "bench" => bench::run(rest),
        "config" => config_command(rest),
        "version" | "--version" | "-V" => said(&format!("flotilla {VERSION}\netcd API {ETCD_VERSION}\n")),
        "help" | "--help" | "-h" => said(&help::overview()),
        flag if flag.starts_with('-') => {
            Err(Complaint::new(format!("{flag} comes after a command; did you mean `flotilla start {flag}`?")))
        }
        other => Err(Complaint::new(match flags::nearest(other, COMMANDS.into_iter()) {
            Some(near) => format!("unknown command `{other}`; did you mean `{near}`?"),
            None => format!("unknown command `{other}`; `flotilla help` lists them"),
        })),
    }
}

/// Print to standard output; a closed pipe is not our failure.
fn said(text: &str) -> Result<ExitCode, Complaint> {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// The process's environment, as far as it is text.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// `flotilla start`, or anything under the name `etcd`.
fn start(words: &[String]) -> Result<ExitCode, Complaint> {
    let asks = |names: [&str; 2]| words.iter().any(|word| names.contains(&word.as_str()));
    if asks(["--version", "-version"]) {
        return said(&help::etcd_version());
    }
    if words.iter().any(|word| asks_for_help(word)) {
        return said(&help::start());
    }
    let settings = config::load(words, &environment())?;
    logging::start(&settings.log)?;
    settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    metrics::install()?;
    if settings.exit_with_parent {
        parent::watch()?;
    }
    shell::run(settings)?;
    Ok(ExitCode::SUCCESS)
}

/// Go's spellings and everybody else's.
fn asks_for_help(word: &str) -> bool {
    ["--help", "-help", "-h"].contains(&word)
}

/// `flotilla config explain|check [flags of start]`.
fn config_command(words: &[String]) -> Result<ExitCode, Complaint> {
    let Some((verb, rest)) = words.split_first() else {
        return Err(Complaint::new("`flotilla config` needs a verb: explain or check, then the flags of `start`"));
    };
    if verb == "help" || words.iter().any(|word| asks_for_help(word)) {
        return said(help::CONFIG);
    }
    let merged = || Merged::gather(rest, &environment());
    match verb.as_str() {
        "explain" => said(&config::explain(&merged()?)),
        "check" => {
            let settings = Settings::from_merged(&merged()?)?;
            let mut text: String = settings.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            text.push_str(&format!("good: {settings}\n"));
            said(&text)
        }
        other => Err(Complaint::new(format!("unknown verb `config {other}`; the verbs are explain and check"))),
    }
}
