//! Histories as text: one operation, version or disruption per line, words between spaces, so that a history can be
//! kept beside a failing seed, read by people and judged again.
//!
//! ```text
//! op 7 c3 d2 1500 2600 put 'hot 'v7 0 p => ok 12 put -
//! op 8 c1 d1 1700 - del 'a 'b - => unknown
//! version 'hot 12 12 1 0 'v7
//! gone 'hot 13
//! sub 'hot 13 0
//! disruption 1000 2000
//! ```
//!
//! Bytes begin with a `'` and escape what is not plain text as `%xx`; `-` stands for nothing.

use super::{Ask, History, Op, Outcome, Version};
use base::error::Refusal;
use base::{Key, Revision, Span};
use bytes::Bytes;
use mvcc::*;
use std::fmt::Write;

/// The whole history as text.
pub fn dump(history: &History) -> String {
    let mut out = String::new();
    for op in &history.ops {
        write_op(&mut out, op);
        out.push('\n');
    }
    for v in &history.versions {
        match &v.kv {
            Some(kv) => {
                out.push_str("version");
                kv_out(&mut out, kv);
            }
            None => {
                out.push_str("gone");
                bytes_out(&mut out, v.key.bytes());
                num(&mut out, v.revision.0);
            }
        }
        out.push('\n');
        if let Some(sub) = v.sub {
            out.push_str("sub");
            bytes_out(&mut out, v.key.bytes());
            let _ = writeln!(out, " {} {sub}", v.revision);
        }
    }
    for (from, to) in &history.disruptions {
        let _ = writeln!(out, "disruption {from} {to}");
    }
    out
}

/// A history from its text; the error names the line.
pub fn load(text: &str) -> Result<History, String> {
    let mut history = History::default();
    for (n, line) in text.lines().enumerate() {
        read_line(&mut history, line).ok_or_else(|| format!("line {}: not a line of a history: {line}", n + 1))?;
    }
    Ok(history)
}

fn read_line(history: &mut History, line: &str) -> Option<()> {
    let mut words = Words(line.split_ascii_whitespace());
    match words.word()? {
        "op" => history.ops.push(words.op()?),
        "version" => {
            let kv = words.kv()?;
            history.versions.push(Version { key: kv.key.clone(), revision: kv.modified, sub: None, kv: Some(kv) });
        }
        "gone" => {
            history.versions.push(Version { key: words.key()?, revision: words.revision()?, sub: None, kv: None })
        }
        // Of the version on the line before.
        "sub" => {
            let (key, revision) = (words.key()?, words.revision()?);
            let version = history.versions.last_mut().filter(|v| v.key == key && v.revision == revision)?;
            version.sub = Some(words.num()?.try_into().ok()?);
        }
        "disruption" => history.disruptions.push((words.num()?, words.num()?)),
        _ => return None,
    }
    words.0.next().is_none().then_some(())
}

pub(super) fn write_op(out: &mut String, op: &Op) {
    let _ = write!(out, "op {} c{} d{} {} ", op.id, op.client, op.door, op.call);
    match op.ret {
        u64::MAX => out.push('-'),
        ret => drop(write!(out, "{ret}")),
    }
    match &op.ask {
        Ask::Kv(request) => request_out(out, request),
        Ask::Compact(r) => drop(write!(out, " compact {r}")),
    }
    out.push_str(" =>");
    match &op.outcome {
        Outcome::Ok(r, reply) => {
            let _ = write!(out, " ok {r}");
            match reply {
                Some(reply) => reply_out(out, reply),
                None => out.push_str(" -"),
            }
        }
        Outcome::Refused(r) => drop(write!(out, " refused {r:?}")),
        Outcome::Failed => out.push_str(" failed"),
        Outcome::Unknown => out.push_str(" unknown"),
    }
}

fn num(out: &mut String, n: u64) {
    let _ = write!(out, " {n}");
}

fn bytes_out(out: &mut String, b: &[u8]) {
    out.push_str(" '");
    for &c in b {
        match c {
            b'!'..=b'~' if c != b'%' => out.push(char::from(c)),
            _ => drop(write!(out, "%{c:02x}")),
        }
    }
}

fn flags(out: &mut String, all: &[(bool, char)]) {
    out.push(' ');
    let before = out.len();
    out.extend(all.iter().filter(|(on, _)| *on).map(|(_, c)| *c));
    if out.len() == before {
        out.push('-');
    }
}

fn span_out(out: &mut String, span: &Span) {
    bytes_out(out, span.start.bytes());
    bytes_out(out, span.end.bytes());
}

fn request_out(out: &mut String, request: &Request) {
    match request {
        Request::Range(r) => {
            out.push_str(" range");
            span_out(out, &r.span);
            num(out, r.revision.0);
            num(out, r.limit);
            match r.sort {
                None => out.push_str(" -"),
                Some(s) => drop(write!(out, " {:?}{}", s.target, if s.descending { "<" } else { ">" })),
            }
            flags(out, &[(r.keys_only, 'k'), (r.count_only, 'c'), (r.serializable, 's')]);
            let f = &r.filter;
            [f.min_mod, f.max_mod, f.min_create, f.max_create].iter().for_each(|r| num(out, r.0));
        }
        Request::Put(p) => {
            out.push_str(" put");
            bytes_out(out, p.key.bytes());
            bytes_out(out, &p.value);
            let _ = write!(out, " {}", p.lease);
            flags(out, &[(p.prev_kv, 'p'), (p.ignore_value, 'v'), (p.ignore_lease, 'l')]);
        }
        Request::Delete(d) => {
            out.push_str(" del");
            span_out(out, &d.span);
            flags(out, &[(d.prev_kv, 'p')]);
        }
        Request::Txn(t) => {
            let _ = write!(out, " txn {} {} {}", t.compares.len(), t.success.len(), t.failure.len());
            t.compares.iter().for_each(|c| compare_out(out, c));
            t.success.iter().chain(&t.failure).for_each(|op| request_out(out, op));
        }
    }
}

fn compare_out(out: &mut String, c: &Compare) {
    span_out(out, &c.span);
    let _ = write!(out, " {:?}", c.result);
    match &c.target {
        CompareTarget::Version(n) => drop(write!(out, " version {n}")),
        CompareTarget::Create(n) => drop(write!(out, " create {n}")),
        CompareTarget::Mod(n) => drop(write!(out, " mod {n}")),
        CompareTarget::Lease(n) => drop(write!(out, " lease {n}")),
        CompareTarget::Value(v) => {
            out.push_str(" value");
            bytes_out(out, v);
        }
    }
}

fn kv_out(out: &mut String, kv: &KeyValue) {
    bytes_out(out, kv.key.bytes());
    let _ = write!(out, " {} {} {} {}", kv.modified, kv.create, kv.version, kv.lease);
    bytes_out(out, &kv.value);
}

fn reply_out(out: &mut String, reply: &Reply) {
    match reply {
        Reply::Range(r) => {
            let _ = write!(out, " range {} {} {}", r.count, if r.more { "more" } else { "all" }, r.kvs.len());
            r.kvs.iter().for_each(|kv| kv_out(out, kv));
        }
        Reply::Put(p) => match &p.prev {
            None => out.push_str(" put -"),
            Some(kv) => {
                out.push_str(" put prev");
                kv_out(out, kv);
            }
        },
        Reply::Delete(d) => {
            let _ = write!(out, " del {} {}", d.deleted, d.prev.len());
            d.prev.iter().for_each(|kv| kv_out(out, kv));
        }
        Reply::Txn(t) => {
            let _ = write!(out, " txn {} {}", if t.succeeded { "yes" } else { "no" }, t.replies.len());
            t.replies.iter().for_each(|r| reply_out(out, r));
        }
    }
}

struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Option<&'a str> {
        self.0.next()
    }
    fn num(&mut self) -> Option<u64> {
        self.word()?.parse().ok()
    }
    fn int(&mut self) -> Option<i64> {
        self.word()?.parse().ok()
    }
    fn named(&mut self, prefix: char) -> Option<u64> {
        self.word()?.strip_prefix(prefix)?.parse().ok()
    }
    fn revision(&mut self) -> Option<Revision> {
        self.num().map(Revision)
    }
    fn bytes(&mut self) -> Option<Bytes> {
        let mut rest = self.word()?.strip_prefix('\'')?.as_bytes();
        let mut out = Vec::with_capacity(rest.len());
        while let [c, tail @ ..] = rest {
            rest = tail;
            if *c == b'%' {
                let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
                out.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &rest[2..];
            } else {
                out.push(*c);
            }
        }
        Some(Bytes::from(out))
    }
    fn key(&mut self) -> Option<Key> {
        self.bytes().map(Key)
    }
    fn span(&mut self) -> Option<Span> {
        Some(Span::new(self.key()?, self.key()?))
    }
    fn many<T>(&mut self, n: u64, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..n).map(|_| one(self)).collect()
    }

    fn op(&mut self) -> Option<Op> {
        let (id, client, door, call) = (self.num()?, self.named('c')?, self.named('d')?, self.num()?);
        let ret = match self.word()? {
            "-" => u64::MAX,
            n => n.parse().ok()?,
        };
        let ask = match self.word()? {
            "compact" => Ask::Compact(self.revision()?),
            verb => Ask::Kv(self.request(verb)?),
        };
        if self.word()? != "=>" {
            return None;
        }
        let outcome = match self.word()? {
            "ok" => Outcome::Ok(self.revision()?, self.maybe_reply()?),
            "refused" => Outcome::Refused(refusal(self.word()?)?),
            "failed" => Outcome::Failed,
            "unknown" => Outcome::Unknown,
            _ => return None,
        };
        Some(Op { id, client, door, call, ret, ask, outcome })
    }

    fn request(&mut self, verb: &str) -> Option<Request> {
        Some(match verb {
            "range" => {
                let (span, revision, limit) = (self.span()?, self.revision()?, self.num()?);
                let sort = sort(self.word()?)?;
                let flags = self.word()?;
                let filter = Filter {
                    min_mod: self.revision()?,
                    max_mod: self.revision()?,
                    min_create: self.revision()?,
                    max_create: self.revision()?,
                };
                let [keys_only, count_only, serializable] = ['k', 'c', 's'].map(|c| flags.contains(c));
                Request::Range(RangeReq { span, revision, limit, sort, keys_only, count_only, serializable, filter })
            }
            "put" => {
                let (key, value, lease, flags) = (self.key()?, self.bytes()?, self.int()?, self.word()?);
                let [prev_kv, ignore_value, ignore_lease] = ['p', 'v', 'l'].map(|c| flags.contains(c));
                Request::Put(PutReq { key, value, lease, prev_kv, ignore_value, ignore_lease })
            }
            "del" => Request::Delete(DeleteReq { span: self.span()?, prev_kv: self.word()?.contains('p') }),
            "txn" => {
                let (c, s, f) = (self.num()?, self.num()?, self.num()?);
                let nested = |w: &mut Self| {
                    let verb = w.word()?;
                    w.request(verb)
                };
                let compares = self.many(c, Words::compare)?;
                Request::Txn(TxnReq { compares, success: self.many(s, nested)?, failure: self.many(f, nested)? })
            }
            _ => return None,
        })
    }

    fn compare(&mut self) -> Option<Compare> {
        let span = self.span()?;
        let result = match self.word()? {
            "Equal" => CompareResult::Equal,
            "Greater" => CompareResult::Greater,
            "Less" => CompareResult::Less,
            "NotEqual" => CompareResult::NotEqual,
            _ => return None,
        };
        let target = match self.word()? {
            "version" => CompareTarget::Version(self.int()?),
            "create" => CompareTarget::Create(self.int()?),
            "mod" => CompareTarget::Mod(self.int()?),
            "lease" => CompareTarget::Lease(self.int()?),
            "value" => CompareTarget::Value(self.bytes()?),
            _ => return None,
        };
        Some(Compare { span, result, target })
    }

    fn kv(&mut self) -> Option<KeyValue> {
        let key = self.key()?;
        let (modified, create, version, lease) = (self.revision()?, self.revision()?, self.num()?, self.int()?);
        Some(KeyValue { key, create, modified, version, value: self.bytes()?, lease })
    }

    fn maybe_reply(&mut self) -> Option<Option<Reply>> {
        match self.word()? {
            "-" => Some(None),
            verb => self.reply(verb).map(Some),
        }
    }

    fn reply(&mut self, verb: &str) -> Option<Reply> {
        Some(match verb {
            "range" => {
                let (count, more, n) = (self.num()?, self.word()? == "more", self.num()?);
                Reply::Range(RangeReply { kvs: self.many(n, Words::kv)?, more, count })
            }
            "put" => match self.word()? {
                "prev" => Reply::Put(PutReply { prev: Some(self.kv()?) }),
                _ => Reply::Put(PutReply { prev: None }),
            },
            "del" => {
                let (deleted, n) = (self.num()?, self.num()?);
                Reply::Delete(DeleteReply { deleted, prev: self.many(n, Words::kv)? })
            }
            "txn" => {
                let (succeeded, n) = (self.word()? == "yes", self.num()?);
                let replies = self.many(n, |w| {
                    let verb = w.word()?;
                    w.reply(verb)
                })?;
                Reply::Txn(TxnReply { succeeded, replies })
            }
            _ => return None,
        })
    }
}

fn sort(word: &str) -> Option<Option<Sort>> {
    if word == "-" {
        return Some(None);
    }
    let descending = word.ends_with('<');
    let target = match word.get(..word.len().checked_sub(1)?)? {
        "Key" => SortTarget::Key,
        "Version" => SortTarget::Version,
        "Create" => SortTarget::Create,
        "Mod" => SortTarget::Mod,
        "Value" => SortTarget::Value,
        _ => return None,
    };
    Some(Some(Sort { target, descending }))
}

fn refusal(word: &str) -> Option<Refusal> {
    use Refusal::*;
    let all = [
        EmptyKey,
        KeyNotFound,
        ValueProvided,
        LeaseProvided,
        LeaseNotFound,
        TooManyOps,
        DuplicateKey,
        InvalidSortOption,
        RequestTooLarge,
        Compacted,
        FutureRevision,
        NoSpace,
        TooManyRequests,
        Timeout,
    ];
    all.into_iter().find(|r| format!("{r:?}") == word)
}
