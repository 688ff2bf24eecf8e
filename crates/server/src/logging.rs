//! Logs, as etcd's flags ask for them: `--log-level`, `--log-outputs`, `--log-format`.
//!
//! A line is formatted once and written to every output. The JSON form has the keys of etcd's own logs (`level`, `ts`,
//! `caller`, `msg`, then the fields), so what reads etcd's logs reads ours.

use crate::config::Complaint;
use crate::config::settings::{Format, Level, Log, Output};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that say too much below this level.
const CHATTY: [&str; 6] = ["h2", "hyper", "hyper_util", "tower", "tonic", "mio"];

/// Begin to log; once per process.
pub fn start(log: &Log) -> Result<(), Complaint> {
    let level = match log.level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let chatty = level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(level).with_targets(CHATTY.map(|name| (name, chatty)));
    let lines = Lines::open(log)?;
    let started = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
    started.map_err(|e| Complaint::new(format!("cannot start logging: {e}")))
}

enum Sink {
    Stderr,
    Stdout,
    File(Mutex<File>),
}

impl Sink {
    /// A log that cannot be written must not stop the node, so errors end here.
    fn write(&self, line: &str) {
        let _ = match self {
            Sink::Stderr => std::io::stderr().lock().write_all(line.as_bytes()),
            Sink::Stdout => std::io::stdout().lock().write_all(line.as_bytes()),
            Sink::File(file) => match file.lock() {
                Ok(mut file) => file.write_all(line.as_bytes()),
                Err(_) => Ok(()),
            },
        };
    }
}

/// Writes each event as one line.
struct Lines {
    sinks: Vec<Sink>,
    json: bool,
}

impl Lines {
    fn open(log: &Log) -> Result<Lines, Complaint> {
        let sink = |output: &Output| match output {
            Output::Stderr => Ok(Sink::Stderr),
            Output::Stdout => Ok(Sink::Stdout),
            Output::File(path) => match OpenOptions::new().create(true).append(true).open(path) {
                Ok(file) => Ok(Sink::File(Mutex::new(file))),
                Err(e) => {
                    Err(Complaint::new(format!("cannot open the log {}: {e}; see --log-outputs", path.display())))
                }
            },
        };
        let sinks = log.outputs.iter().map(sink).collect::<Result<Vec<_>, _>>()?;
        let json = match log.format {
            Some(format) => format == Format::Json,
            None => !std::io::stderr().is_terminal(),
        };
        Ok(Lines { sinks, json })
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = format_event(event, self.json);
        self.sinks.iter().for_each(|sink| sink.write(&line));
    }
}

fn format_event(event: &Event<'_>, json: bool) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let meta = event.metadata();
    let level = meta.level().as_str();
    let mut line = String::with_capacity(160);
    if json {
        let file = meta.file().unwrap_or("").rsplit("crates/").next().unwrap_or("");
        let caller = format!("{file}:{}", meta.line().unwrap_or(0));
        let _ = write!(line, "{{\"level\":\"{}\",\"ts\":\"{time}\"", level.to_lowercase());
        let _ = write!(line, ",\"caller\":{},\"msg\":{}", text(&caller), text(&fields.message));
        fields.others.iter().for_each(|(name, value)| {
            let _ = write!(line, ",{}:{value}", text(name));
        });
        line.push_str("}\n");
    } else {
        let _ = write!(line, "{time} {level:<5} {}", fields.message.replace('\n', " "));
        fields.others.iter().for_each(|(name, value)| {
            let _ = write!(line, " {name}={value}");
        });
        line.push('\n');
    }
    line
}

fn text(plain: &str) -> String {
    serde_json::Value::from(plain).to_string()
}

/// The message and every other field as a JSON value.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.take(field, format!("{value:?}")),
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_string(),
            _ => self.take(field, value),
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(level: Level, format: Format, say: impl FnOnce()) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        let log = Log { level, outputs: vec![Output::File(path.clone())], format: Some(format) };
        let level = if log.level == Level::Debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
        let lines = Lines::open(&log).unwrap().with_filter(level);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), say);
        std::fs::read_to_string(&path).unwrap().lines().map(str::to_string).collect()
    }

    #[test]
    fn json_lines_have_etcds_keys() {
        let lines = logged(Level::Info, Format::Json, || {
            tracing::info!(address = "127.0.0.1:2379", tries = 3u64, "ready \"to\" serve");
            tracing::debug!("hidden");
        });
        assert_eq!(lines.len(), 1);
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["level"], "info");
        assert_eq!(value["msg"], "ready \"to\" serve");
        assert_eq!(value["address"], "127.0.0.1:2379");
        assert_eq!(value["tries"], 3);
        assert!(value["ts"].as_str().unwrap().ends_with('Z'));
        assert!(value["caller"].as_str().unwrap().contains("logging.rs:"));
    }

    #[test]
    fn console_lines_are_for_people() {
        let lines = logged(Level::Debug, Format::Console, || tracing::debug!(range = 7u64, "two\nlines"));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with("DEBUG two lines range=7"), "{}", lines[0]);
    }

    #[test]
    fn a_log_that_cannot_be_opened_says_so() {
        let outputs = vec![Output::File("/nonexistent/x.log".into())];
        let error = Lines::open(&Log { level: Level::Info, outputs, format: None }).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/x.log") && error.to_string().contains("--log-outputs"));
    }
}
