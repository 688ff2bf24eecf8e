//! Where values come from: flag over variable over file over default, merged, nothing forgotten.

use super::flags::{self, Class, FLAGS, Flag};
use super::{Complaint, args, file, text};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Who set a value. Later ones win.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Nobody.
    Default,
    /// A config file.
    File(PathBuf),
    /// An environment variable, by name.
    Variable(String),
    /// A flag on the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Flag => write!(f, "flag"),
        }
    }
}

/// One value and who set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The value, not parsed yet.
    pub text: String,
    /// Who set it.
    pub origin: Origin,
}

/// Every flag with everything that was said about it; the last of each list is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    said: BTreeMap<&'static str, Vec<Setting>>,
    /// What the user should know although it does not stop us.
    pub warnings: Vec<String>,
}

impl Merged {
    /// Merge a command line (without the program's name), the environment and the file that either names.
    pub fn gather(line: &[String], environment: &[(String, String)]) -> Result<Merged, Complaint> {
        let mut merged = Merged { said: BTreeMap::new(), warnings: Vec::new() };
        for flag in FLAGS {
            merged.say(flag, flag.default.to_string(), Origin::Default)?;
        }
        let flags = args::parse(line)?;
        let (variables, unknown) = variables(environment);
        merged.warnings.extend(unknown);
        let named = |said: &[(&'static Flag, String)]| {
            said.iter().rev().find(|(flag, _)| flag.name == "config-file").map(|(_, text)| text.clone())
        };
        if let Some(path) = named(&flags).or_else(|| named(&variables)).filter(|path| !path.is_empty()) {
            for (flag, text) in file::read(Path::new(&path))? {
                merged.say(flag, text, Origin::File(PathBuf::from(&path)))?;
            }
        }
        for (flag, text) in variables {
            merged.say(flag, text, Origin::Variable(flag.variable()))?;
        }
        for (flag, text) in flags {
            merged.say(flag, text, Origin::Flag)?;
        }
        merged.judge()?;
        Ok(merged)
    }

    fn say(&mut self, flag: &'static Flag, text: String, origin: Origin) -> Result<(), Complaint> {
        text::check(flag.shape, &text).map_err(|e| Complaint::new(format!("--{} ({origin}): {e}", flag.name)))?;
        self.said.entry(flag.name).or_default().push(Setting { text, origin });
        Ok(())
    }

    /// The value in force and who set it. The name must be in the table.
    pub fn setting(&self, name: &str) -> &Setting {
        let said = self.said.get(name).and_then(|said| said.last());
        said.unwrap_or_else(|| panic!("`{name}` is not in the table of flags"))
    }

    /// The text in force.
    pub fn text(&self, name: &str) -> &str {
        &self.setting(name).text
    }

    /// Did anybody set it?
    pub fn is_set(&self, name: &str) -> bool {
        self.setting(name).origin != Origin::Default
    }

    /// What was said and lost against the value in force, strongest first, the default left out.
    pub fn shadowed(&self, name: &str) -> Vec<&Setting> {
        let said = self.said.get(name).map_or(&[][..], Vec::as_slice);
        said.iter().rev().skip(1).filter(|setting| setting.origin != Origin::Default).collect()
    }

    /// Refuse what asks for safety that is not there; warn about what does nothing.
    fn judge(&mut self) -> Result<(), Complaint> {
        for flag in FLAGS {
            let setting = self.setting(flag.name);
            if setting.origin == Origin::Default {
                continue;
            }
            let shown = format!("--{}={} ({})", flag.name, setting.text, setting.origin);
            match flag.class {
                Class::Safety(why) if !means_default(flag, &setting.text) => {
                    return Err(Complaint::new(format!("{shown} is refused: {why}")));
                }
                Class::Inert(why) => self.warnings.push(format!("{shown} has no effect: {why}")),
                Class::NotBuilt(why) if !means_default(flag, &setting.text) => {
                    self.warnings.push(format!("{shown} is not built yet and has no effect: {why}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Is this text another way to write the default?
fn means_default(flag: &Flag, said: &str) -> bool {
    match flag.shape {
        flags::Shape::Bool => text::boolean(said) == text::boolean(flag.default),
        flags::Shape::Duration => text::duration(said) == text::duration(flag.default),
        _ => said == flag.default,
    }
}

type Said = Vec<(&'static Flag, String)>;

/// The variables that name a flag, and a warning for each `ETCD_…` that names none.
fn variables(environment: &[(String, String)]) -> (Said, Vec<String>) {
    let (mut said, mut unknown) = (Vec::new(), Vec::new());
    for (variable, text) in environment {
        let Some(rest) = variable.strip_prefix("ETCD_") else { continue };
        let name = rest.to_lowercase().replace('_', "-");
        match flags::find(&name) {
            // Two spellings of one flag both count; an empty variable says nothing, as in etcd.
            Some(flag) if !text.is_empty() => said.push((flag, text.clone())),
            Some(_) => {}
            None => unknown.push(unknown_variable(variable, &name)),
        }
    }
    (said, unknown)
}

fn unknown_variable(variable: &str, name: &str) -> String {
    let hint = flags::nearest(name, FLAGS.iter().map(|f| f.name)).and_then(flags::find);
    let hint = hint.map_or(String::new(), |flag| format!(" (did you mean {}?)", flag.variable()));
    format!("unrecognized environment variable {variable}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(line: &[&str], environment: &[(&str, &str)]) -> Result<Merged, String> {
        let line: Vec<String> = line.iter().map(|s| s.to_string()).collect();
        let environment: Vec<_> = environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Merged::gather(&line, &environment).map_err(|c| c.to_string())
    }

    #[test]
    fn flag_over_variable_over_file_over_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("conf.yml");
        std::fs::write(&path, "name: from-file\nheartbeat-interval: 77\nmax-txn-ops: 5\n").unwrap();
        let path = path.to_str().unwrap();
        let environment = [("ETCD_NAME", "from-env"), ("ETCD_HEARTBEAT_INTERVAL", "88"), ("ETCD_CONFIG_FILE", path)];
        let merged = gather(&["--name", "from-flag"], &environment).unwrap();
        assert_eq!(merged.setting("name"), &Setting { text: "from-flag".into(), origin: Origin::Flag });
        let lost: Vec<_> = merged.shadowed("name").iter().map(|s| s.text.as_str()).collect();
        assert_eq!(lost, ["from-env", "from-file"]);
        assert_eq!(merged.setting("heartbeat-interval").origin, Origin::Variable("ETCD_HEARTBEAT_INTERVAL".into()));
        assert_eq!(merged.setting("max-txn-ops").origin, Origin::File(path.into()));
        assert_eq!(merged.setting("election-timeout").origin, Origin::Default);
    }

    #[test]
    fn safety_that_is_not_built_is_refused_whoever_asks() {
        for line in [
            vec!["--cert-file=/a"],
            vec!["--client-cert-auth"],
            vec!["--auto-tls"],
            vec!["--peer-auto-tls=true"],
            vec!["--force-new-cluster"],
            vec!["--discovery", "http://x"],
            vec!["--auth-token=jwt,sign-method=RS256"],
            vec!["--host-whitelist=a.example"],
        ] {
            let error = gather(&line, &[]).unwrap_err();
            assert!(error.contains("is refused"), "{line:?}: {error}");
        }
        assert!(gather(&[], &[("ETCD_CERT_FILE", "/a")]).unwrap_err().contains("variable ETCD_CERT_FILE"));
        // Saying the default aloud asks for nothing.
        let aloud = ["--auth-token=simple", "--auto-tls=f", "--client-cert-auth=false", "--cert-file="];
        assert_eq!(gather(&aloud, &[]).unwrap().warnings, Vec::<String>::new());
    }

    #[test]
    fn what_does_nothing_is_said_aloud() {
        let merged = gather(&["--snapshot-count=10000", "--wal-dir=/w"], &[("ETCD_NMAE", "x")]).unwrap();
        assert_eq!(merged.warnings.len(), 3, "{:?}", merged.warnings);
        assert!(merged.warnings[0].contains("ETCD_NMAE") && merged.warnings[0].contains("ETCD_NAME"));
        assert!(merged.warnings.iter().any(|w| w.contains("--snapshot-count=10000") && w.contains("--log-bytes")));
    }

    #[test]
    fn a_wrong_value_names_its_source() {
        assert!(gather(&[], &[("ETCD_MAX_TXN_OPS", "many")]).unwrap_err().contains("variable ETCD_MAX_TXN_OPS"));
        assert!(gather(&["--grpc-keepalive-timeout=5"], &[]).unwrap_err().contains("not a duration"));
    }
}
