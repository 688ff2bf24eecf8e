//! The plain HTTP endpoints beside gRPC on the same port: health, version, metrics.

use crate::Gateway;
use crate::backend::Backend;
use ::http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use base::{Key, Revision, Span};
use bytes::Bytes;
use mvcc::{Filter, RangeReq, Request};
use std::fmt::Write;
use std::time::Duration;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers one request.
pub async fn answer<B: Backend>(g: &Gateway<B>, method: &Method, uri: &Uri) -> Response<Bytes> {
    let path = uri.path().trim_end_matches('/');
    let query = Query(uri.query().unwrap_or(""));
    let known = matches!(path, "/health" | "/version" | "/metrics") || probe(path).is_some();
    if is_json_gateway(path) {
        return json_gateway(path);
    }
    if !known {
        return text(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".into());
    }
    if method != Method::GET && !(method == Method::HEAD && path == "/metrics") {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n".into());
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match path {
        "/health" => health(g, query).await,
        "/version" => version(g),
        "/metrics" => metrics(g),
        _ => probes(g, path, query).await,
    }
}

/// Where etcd answers JSON: `/v3/kv/put` and fifty more, under older names too.
fn is_json_gateway(path: &str) -> bool {
    ["/v3/", "/v3beta/", "/v3alpha/"].iter().any(|version| path.starts_with(version))
}

/// The words of etcd's JSON gateway for what is not there, so that its clients show the reason.
fn json_gateway(path: &str) -> Response<Bytes> {
    let status = crate::refusal::not_built(&format!("the JSON gateway ({path})"));
    let body = serde_json::json!({ "code": status.code() as i32, "message": status.message(), "details": [] });
    text(StatusCode::NOT_IMPLEMENTED, JSON, body.to_string())
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn version<B: Backend>(g: &Gateway<B>) -> Response<Bytes> {
    let v = g.backend.versions();
    let json = |s: &str| serde_json::Value::from(s).to_string();
    let body = format!(
        "{{\"etcdserver\":{},\"etcdcluster\":{},\"storage\":{}}}",
        json(&v.server),
        json(&v.cluster),
        json(&v.storage)
    );
    text(StatusCode::OK, JSON, body)
}

fn metrics<B: Backend>(g: &Gateway<B>) -> Response<Bytes> {
    let mut body = String::with_capacity(64 << 10);
    g.meter.render(&mut body);
    g.backend.metrics(&mut body);
    text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
}

/// `/health`: alarms, a leader, and a scan that must come back.
async fn health<B: Backend>(g: &Gateway<B>, query: Query<'_>) -> Response<Bytes> {
    let serializable = query.get("serializable") == Some("true");
    let alarm = g.backend.alarms().into_iter().find(|a| !query.all("exclude").any(|e| e == a.kind.to_string()));
    let wrong = if let Some(alarm) = alarm {
        Some(format!("ALARM {}", alarm.kind))
    } else if !serializable && !g.backend.has_leader() {
        Some("RAFT NO LEADER".to_string())
    } else {
        let looked = if serializable { lives(g).await } else { scan(g).await };
        looked.err().map(|e| format!("RANGE ERROR:{e}"))
    };
    g.meter.health(wrong.is_none());
    let reason = serde_json::Value::from(wrong.as_deref().unwrap_or(""));
    match wrong {
        None => text(StatusCode::OK, JSON, format!("{{\"health\":\"true\",\"reason\":{reason}}}")),
        Some(_) => {
            let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            text(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
        }
    }
}

/// One thing `/livez` or `/readyz` looks at.
#[derive(Clone, Copy)]
enum Check {
    Corruption,
    Serializable,
    Linearizable,
    NonLearner,
}

impl Check {
    const ALIVE: &[Check] = &[Check::Serializable];
    const READY: &[Check] = &[Check::Corruption, Check::Serializable, Check::Linearizable, Check::NonLearner];

    fn name(self) -> &'static str {
        match self {
            Check::Corruption => "data_corruption",
            Check::Serializable => "serializable_read",
            Check::Linearizable => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run<B: Backend>(self, g: &Gateway<B>) -> Result<(), String> {
        match self {
            Check::Corruption => {
                let corrupt = |a: &crate::backend::Alarm| a.kind == crate::backend::AlarmKind::Corrupt;
                if g.backend.alarms().iter().any(corrupt) { Err("alarm activated: CORRUPT".into()) } else { Ok(()) }
            }
            Check::Serializable => lives(g).await.map_err(|e| format!("range error: {e}")),
            Check::Linearizable => scan(g).await.map_err(|e| format!("range error: {e}")),
            Check::NonLearner if g.backend.status().learner => Err("not supported for learner".into()),
            Check::NonLearner => Ok(()),
        }
    }
}

/// `/livez`, `/readyz`, or one of their checks by name.
fn probe(path: &str) -> Option<(&'static [Check], Option<Check>)> {
    let (all, rest) = if let Some(rest) = path.strip_prefix("/livez") {
        (Check::ALIVE, rest)
    } else {
        (Check::READY, path.strip_prefix("/readyz")?)
    };
    if rest.is_empty() {
        return Some((all, None));
    }
    let one = all.iter().find(|c| rest.strip_prefix('/') == Some(c.name()))?;
    Some((all, Some(*one)))
}

async fn probes<B: Backend>(g: &Gateway<B>, path: &str, query: Query<'_>) -> Response<Bytes> {
    let (all, one) = probe(path).expect("only known paths come here");
    let wanted = |c: &&Check| match one {
        Some(one) => one.name() == c.name(),
        None => !query.all("exclude").any(|e| e == c.name()),
    };
    let (mut body, mut well) = (String::new(), true);
    for check in all.iter().filter(wanted) {
        let name = check.name();
        let line = match check.run(g).await {
            Ok(()) => writeln!(body, "[+]{name} ok"),
            Err(why) => {
                well = false;
                writeln!(body, "[-]{name} failed: {why}")
            }
        };
        line.expect("a string");
    }
    match (well, query.has("verbose")) {
        (true, true) => text(StatusCode::OK, TEXT, body + "ok\n"),
        (true, false) => text(StatusCode::OK, TEXT, "ok\n".into()),
        (false, _) => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, body),
    }
}

/// A probe that is asked every few seconds should not wait as long as a client would.
fn patience<B: Backend>(g: &Gateway<B>) -> Duration {
    g.limits.request_timeout.min(Duration::from_secs(5))
}

/// What etcd asks with a serializable read: nobody else. Whoever restarts what fails `/livez` must not restart a node
/// because others are gone.
async fn lives<B: Backend>(g: &Gateway<B>) -> Result<(), String> {
    g.backend.lives(patience(g)).await.map_err(|e| crate::refusal::status(&e).message().to_string())
}

/// The smallest scan that takes the whole road of a read.
async fn scan<B: Backend>(g: &Gateway<B>) -> Result<(), String> {
    let request = Request::Range(RangeReq {
        span: Span::point(&Key::user(b"health")),
        revision: Revision::ZERO,
        limit: 1,
        sort: None,
        keys_only: true,
        count_only: false,
        serializable: false,
        filter: Filter::default(),
    });
    match g.backend.call(request, patience(g)).await {
        Ok(_) => Ok(()),
        Err(e) => Err(crate::refusal::status(&e).message().to_string()),
    }
}

/// `a=b&c`; names and values of these endpoints need no unescaping.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
    fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs().filter(move |(n, _)| *n == name).map(|(_, value)| value)
    }
    fn get(self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }
    fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_names() {
        assert!(matches!(probe("/readyz"), Some((all, None)) if all.len() == 4));
        assert!(matches!(probe("/livez/serializable_read"), Some((_, Some(Check::Serializable)))));
        assert!(probe("/livez/linearizable_read").is_none());
        assert!(probe("/readyzz").is_none());
        assert!(probe("/health").is_none());
    }

    #[test]
    fn queries() {
        let q = Query("exclude=NOSPACE&verbose&exclude=CORRUPT");
        assert_eq!(q.all("exclude").collect::<Vec<_>>(), ["NOSPACE", "CORRUPT"]);
        assert!(q.has("verbose") && !q.has("serializable"));
    }
}
