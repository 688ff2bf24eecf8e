//! The command line, as Go's flag package reads it: `--name x`, `--name=x`, `-name x`, `--switch`, `--switch=false`.

use super::Complaint;
use super::flags::{self, FLAGS, Flag, Shape};

/// What each flag of the line says, in order. `--version` and `--help` are the caller's.
pub fn parse(line: &[String]) -> Result<Vec<(&'static Flag, String)>, Complaint> {
    let mut said = Vec::new();
    let mut words = line.iter();
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|rest| !rest.is_empty())
        else {
            return Err(Complaint::new(format!("`{word}` is not a valid flag; flags look like --name=value")));
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (rest, None),
        };
        let flag = flags::find(name).ok_or_else(|| unknown(name))?;
        let value = match value {
            Some(value) => value,
            None if flag.shape == Shape::Bool => "true".to_string(),
            None => words.next().cloned().ok_or_else(|| Complaint::new(format!("--{name} needs a value")))?,
        };
        said.push((flag, value));
    }
    Ok(said)
}

fn unknown(name: &str) -> Complaint {
    let hint = match flags::nearest(name, FLAGS.iter().map(|f| f.name)) {
        Some(near) => format!("did you mean --{near}?"),
        None => "`flotilla start --help` lists them all".to_string(),
    };
    Complaint::new(format!("flag provided but not defined: --{name}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
        let line: Vec<String> = line.iter().map(|s| s.to_string()).collect();
        let said = parse(&line).map_err(|c| c.to_string())?;
        Ok(said.into_iter().map(|(flag, text)| (flag.name, text)).collect())
    }

    #[test]
    fn all_of_gos_spellings() {
        let line = ["--name", "a", "-name=b", "-data-dir", "d", "--pre-vote", "--strict-reconfig-check=false"];
        let want =
            [("name", "a"), ("name", "b"), ("data-dir", "d"), ("pre-vote", "true"), ("strict-reconfig-check", "false")];
        assert_eq!(parsed(&line).unwrap(), want.map(|(n, t)| (n, t.to_string())));
    }

    #[test]
    fn a_value_may_begin_with_a_dash_or_hold_an_equals_sign() {
        let said = parsed(&["--quota-backend-bytes", "-1", "--initial-cluster=a=http://h:1"]).unwrap();
        assert_eq!(said[0].1, "-1");
        assert_eq!(said[1].1, "a=http://h:1");
    }

    #[test]
    fn mistakes_get_one_line_with_a_way_out() {
        let line = parsed(&["--listen-client-url=x"]).unwrap_err();
        assert!(line.contains("did you mean --listen-client-urls?"), "{line}");
        assert!(parsed(&["--name"]).unwrap_err().contains("needs a value"));
        assert!(parsed(&["true"]).unwrap_err().contains("is not a valid flag"));
        assert!(parsed(&["-"]).is_err() && parsed(&["--"]).is_err());
    }
}
