//! Hides what may differ between two stores that behave alike: ids, addresses, versions, sizes, hashes, terms, indexes,
//! leaders and times. Nothing else.

use harness::Cluster;

/// Names whose numbers are hidden in JSON (`"name":1`) and in etcdctl's fields format (`"Name" : 1`).
const NAMES: [&str; 26] = [
    "cluster_id",
    "member_id",
    "raft_term",
    "ID",
    "leader",
    "raftIndex",
    "raftTerm",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "dbSizeQuota",
    "hash",
    "ClusterID",
    "MemberID",
    "RaftTerm",
    "Leader",
    "RaftIndex",
    "RaftAppliedIndex",
    "DBSize",
    "Hash",
    "version",
    "Version!",
    "took",
    "Took",
    "storageVersion",
    "StorageVersion",
];

/// All lines of an output, masked. Order is kept, but for the answers of several nodes, which come as they come.
pub fn lines(text: &str, cluster: &Cluster) -> Vec<String> {
    let mut text = text.to_string();
    for (i, node) in cluster.nodes.iter().enumerate() {
        text = text.replace(&node.address.to_string(), &format!("<n{}>", i + 1));
    }
    let mut out: Vec<String> = text.lines().filter(|l| !is_log(l)).map(line).collect();
    let is_row = |l: &String| ["http://<n", "<masked>,started,", "|<masked>|started|"].iter().any(|s| l.starts_with(s));
    sort_where(&mut out, is_row);
    sort_members(out)
}

/// Sorts the lines that are rows of one list and leaves the others where they are: nodes are listed by their ids.
fn sort_where(lines: &mut [String], is_row: impl Fn(&String) -> bool) {
    let places: Vec<usize> = (0..lines.len()).filter(|i| is_row(&lines[*i])).collect();
    let mut rows: Vec<String> = places.iter().map(|i| lines[*i].clone()).collect();
    rows.sort();
    for (place, row) in places.into_iter().zip(rows) {
        lines[place] = row;
    }
}

/// The same for members in the fields format, which are a few lines each.
fn sort_members(lines: Vec<String>) -> Vec<String> {
    if !lines.iter().any(|l| l.starts_with("\"PeerURL\"")) {
        return lines;
    }
    let mut members: Vec<Vec<String>> = vec![vec![]];
    for line in lines {
        if line.starts_with("\"ID\"") {
            members.push(vec![]);
        }
        members.last_mut().expect("never empty").push(line);
    }
    members[1..].sort();
    members.concat()
}

/// What etcdctl tells about its own retries.
fn is_log(line: &str) -> bool {
    line.starts_with("{\"level\":\"warn\"")
}

/// One line, masked.
fn line(text: &str) -> String {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text)
    {
        mask_json(&mut value, "");
        return value.to_string();
    }
    if let Some((name, rest)) = text.split_once(" : ") {
        let bare = name.trim().trim_matches('"');
        let is_key_version = bare == "Version" && rest.parse::<u64>().is_ok();
        if (NAMES.contains(&bare) || bare == "Version") && !is_key_version {
            return format!("{name} : <masked>");
        }
        return text.to_string();
    }
    words(text)
}

fn mask_json(value: &mut serde_json::Value, under: &str) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                // A key-value's own `version` is a number; a server's is a text.
                let own_version = name == "version" && field.is_number();
                if NAMES.contains(&name.as_str()) && !own_version && !field.is_object() {
                    *field = Value::String("<masked>".into());
                } else {
                    mask_json(field, name);
                }
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|i| mask_json(i, under));
            if under == "members" || items.iter().all(|i| i.get("Endpoint").is_some() || i.get("endpoint").is_some()) {
                items.sort_by_key(|i| i.to_string());
            }
        }
        _ => {}
    }
}

/// Plain text: `3aa1…, started, n1, http://…`, `http://… is healthy: … took = 2ms`, and tables.
fn words(text: &str) -> String {
    let separators: &[char] = if text.starts_with('|') { &['|'] } else { &[','] };
    if text.starts_with('+') {
        return "+--+".into(); // a table's width depends on what is masked
    }
    let is_row = text.contains("http://<n");
    let masked: Vec<String> = text
        .split(separators)
        .enumerate()
        .map(|(column, field)| {
            let bare = field.trim();
            match bare {
                _ if bare.contains("took = ") => {
                    format!("{}took = <masked>", bare.split("took = ").next().unwrap_or_default())
                }
                _ if is_row && is_measure(bare) => "<masked>".into(),
                _ if is_row && column == 0 && is_hex(bare) => "<masked>".into(),
                _ => bare.to_string(),
            }
        })
        .collect();
    let is_status = is_row && masked.iter().filter(|f| f.as_str() == "<masked>").count() >= 3;
    // Whether the node that was asked leads is by chance.
    let leads = |f: String| if is_status && matches!(f.as_str(), "true" | "false") { "<flag>".into() } else { f };
    masked.into_iter().map(leads).collect::<Vec<_>>().join(&separators[0].to_string())
}

fn is_hex(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A number, a hexadecimal id, a version or a size with its unit.
fn is_measure(text: &str) -> bool {
    let is_number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let units = ["kB", "MB", "GB", "B"];
    is_hex(text) || is_number(text) || units.iter().any(|u| text.strip_suffix(u).is_some_and(|n| is_number(n.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_values_and_counts_are_seen() {
        let json = r#"{"header":{"cluster_id":1,"member_id":2,"revision":7,"raft_term":3},"kvs":[{"key":"YQ==","version":2}],"count":1}"#;
        let masked = line(json);
        assert!(
            masked.contains("\"revision\":7") && masked.contains("\"version\":2") && masked.contains("\"count\":1"),
            "{masked}"
        );
        assert!(!masked.contains("\"cluster_id\":1") && !masked.contains("\"raft_term\":3"), "{masked}");
        assert_eq!(line("\"Revision\" : 7"), "\"Revision\" : 7");
        assert_eq!(line("\"Version\" : 2"), "\"Version\" : 2");
        assert_eq!(line("\"Version\" : \"3.4.23\""), "\"Version\" : <masked>");
        assert_eq!(line("\"RaftTerm\" : 2"), "\"RaftTerm\" : <masked>");
        assert_eq!(line("apple"), "apple");
        assert_eq!(line("12345"), "12345");
    }

    #[test]
    fn ids_sizes_and_times_are_hidden() {
        assert_eq!(
            line("8e9e05c52164694d, started, n1, http://<n1>:2380, http://<n1>:2379, false"),
            "<masked>,started,n1,http://<n1>:2380,http://<n1>:2379,false"
        );
        assert_eq!(
            line("http://<n1>:2379, 8e9e05c52164694d, 3.4.23, 20 kB, true, false, 2, 9, 9, "),
            "http://<n1>:2379,<masked>,<masked>,<masked>,<flag>,<flag>,<masked>,<masked>,<masked>,"
        );
        assert_eq!(
            line("http://<n1>:2379 is healthy: successfully committed proposal: took = 1.5ms"),
            "http://<n1>:2379 is healthy: successfully committed proposal: took = <masked>"
        );
        assert_eq!(line("http://<n1>:2379, 1084519789"), "http://<n1>:2379,<masked>");
    }
}
