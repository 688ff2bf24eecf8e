//! The config file: YAML in which every key is a flag's name, plus etcd's two TLS sections.

use super::Complaint;
use super::flags::{self, CLIENT_SECTION, FLAGS, Flag, PEER_SECTION};
use serde_json::Value;
use std::path::Path;

type Said = Vec<(&'static Flag, String)>;

/// Read a file: what it says about each flag.
pub fn read(path: &Path) -> Result<Said, Complaint> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Complaint::new(format!("cannot read the config file {shown}: {e}; check --config-file")))?;
    parse(&text).map_err(|e| Complaint::new(format!("config file {shown}: {e}")))
}

/// What a file's text says about each flag. The error is the end of a sentence about the file.
pub fn parse(text: &str) -> Result<Said, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value =
        serde_saphyr::from_str(text).map_err(|e| format!("not valid YAML: {}", first_line(&e.to_string())))?;
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(Vec::new()),
        _ => return Err("it must hold `key: value` lines, such as `name: n1`".to_string()),
    };
    let mut said = Vec::new();
    for (key, value) in &map {
        match (key.as_str(), value) {
            (CLIENT_SECTION | PEER_SECTION, Value::Null) => {}
            (CLIENT_SECTION | PEER_SECTION, Value::Object(section)) => {
                for (inner, value) in section {
                    take(section_flag(key, inner)?, &format!("{key}.{inner}"), value, &mut said)?;
                }
            }
            _ => take(flags::find(key).ok_or_else(|| unknown(key, all_keys()))?, key, value, &mut said)?,
        }
    }
    Ok(said)
}

fn take(flag: &'static Flag, key: &str, value: &Value, said: &mut Said) -> Result<(), String> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::Array(parts) => {
            let parts: Result<Vec<String>, String> = parts.iter().map(|part| scalar(key, part)).collect();
            parts?.join(",")
        }
        one => scalar(key, one)?,
    };
    said.push((flag, text));
    Ok(())
}

fn scalar(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(yes) => Ok(yes.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("`{key}` must be one value or a list of values")),
    }
}

/// Keys that a TLS section shortens further than by its prefix.
const SHORT: [(&str, &str, &str); 4] = [
    (CLIENT_SECTION, "crl-file", "client-crl-file"),
    (CLIENT_SECTION, "allowed-hostname", "client-cert-allowed-hostname"),
    (PEER_SECTION, "allowed-cn", "peer-cert-allowed-cn"),
    (PEER_SECTION, "allowed-hostname", "peer-cert-allowed-hostname"),
];

const IN_SECTION: [&str; 10] = [
    "cert-file",
    "key-file",
    "client-cert-auth",
    "client-cert-file",
    "client-key-file",
    "trusted-ca-file",
    "auto-tls",
    "crl-file",
    "allowed-hostname",
    "skip-client-san-verification",
];

fn section_flag(section: &str, key: &str) -> Result<&'static Flag, String> {
    let short = SHORT.iter().find(|(s, k, _)| *s == section && *k == key).map(|(_, _, name)| name.to_string());
    let name = match short {
        Some(name) => name,
        None if section == PEER_SECTION => format!("peer-{key}"),
        None => key.to_string(),
    };
    let known = IN_SECTION.contains(&key) || key == "allowed-cn";
    flags::find(&name)
        .filter(|_| known)
        .ok_or_else(|| format!("in {section}, {}", unknown(key, IN_SECTION.into_iter())))
}

fn all_keys() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|f| f.name).chain([CLIENT_SECTION, PEER_SECTION])
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    match flags::nearest(key, known) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; keys are flag names, see `flotilla start --help`"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unreadable")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Vec<(&'static str, String)>, String> {
        Ok(parse(text)?.into_iter().map(|(flag, text)| (flag.name, text)).collect())
    }

    #[test]
    fn etcds_sample_file_is_read() {
        let text = "# This is the configuration file\nname: 'default'\ndata-dir:\nheartbeat-interval: 100\n\
            log-outputs: [stderr, a.log]\nstrict-reconfig-check: false\nforce-new-cluster: false\n\
            client-transport-security:\n  cert-file:\n  client-cert-auth: false\n\
            peer-transport-security:\n  client-cert-auth: false\n  allowed-cn: x\n";
        let want = [
            ("name", "default"),
            ("heartbeat-interval", "100"),
            ("log-outputs", "stderr,a.log"),
            ("strict-reconfig-check", "false"),
            ("force-new-cluster", "false"),
            ("client-cert-auth", "false"),
            ("peer-client-cert-auth", "false"),
            ("peer-cert-allowed-cn", "x"),
        ];
        let mut got = said(text).unwrap();
        let mut want: Vec<_> = want.map(|(n, t)| (n, t.to_string())).into();
        got.sort();
        want.sort();
        assert_eq!(got, want);
    }

    #[test]
    fn mistakes_name_the_key_and_the_nearest_known_one() {
        assert!(said("nmae: x").unwrap_err().contains("did you mean `name`?"));
        assert!(said("peer-transport-security:\n  cert-fil: x").unwrap_err().contains("did you mean `cert-file`?"));
        assert!(said("name: {a: b}").unwrap_err().contains("`name` must be one value"));
        assert!(said("- a\n- b").unwrap_err().contains("key: value"));
        let broken = said("name: [a").unwrap_err();
        assert!(broken.starts_with("not valid YAML: ") && !broken.contains('\n'), "{broken}");
        assert!(said("name: a\nname: b").is_err(), "a key said twice is a mistake");
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(said("").unwrap(), []);
        assert_eq!(said("# nothing\n").unwrap(), []);
    }
}
