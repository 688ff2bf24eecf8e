//! Addresses and members: what must agree with what, in etcd's words.

use super::settings::{Advertise, Cluster, Listen, Member};
use super::url::Url;
use super::{Complaint, Merged, text};
use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs;

/// Addresses to bind.
pub fn listen(merged: &Merged) -> Result<Listen, Complaint> {
    let listen = Listen {
        clients: bindable(merged, "listen-client-urls")?,
        peers: bindable(merged, "listen-peer-urls")?,
        metrics: bindable(merged, "listen-metrics-urls")?,
    };
    for (name, list) in [("listen-client-urls", &listen.clients), ("listen-peer-urls", &listen.peers)] {
        if list.is_empty() {
            return Err(Complaint::new(format!("--{name} is empty; a node needs one, such as http://127.0.0.1:2379")));
        }
    }
    let mut seen = BTreeSet::new();
    for url in listen.clients.iter().chain(&listen.peers).chain(&listen.metrics) {
        if url.port != 0 && !seen.insert(url.authority()) {
            return Err(Complaint::new(format!("{url} is to be listened on twice; give each --listen-… its own port")));
        }
    }
    Ok(listen)
}

fn urls(merged: &Merged, name: &str) -> Result<Vec<Url>, Complaint> {
    let origin = &merged.setting(name).origin;
    let parsed: Result<Vec<Url>, String> = text::list(merged.text(name)).into_iter().map(Url::parse).collect();
    parsed.map_err(|e| Complaint::new(format!("--{name} ({origin}): {e}")))
}

fn bindable(merged: &Merged, name: &str) -> Result<Vec<Url>, Complaint> {
    let urls = urls(merged, name)?;
    for url in &urls {
        plain(name, url)?;
        let address = url.host.is_empty() || url.host == "localhost" || url.host.parse::<std::net::IpAddr>().is_ok();
        if !address {
            return Err(Complaint::new(format!("--{name}: expected IP in URL for binding ({url})")));
        }
    }
    Ok(urls)
}

/// Refuse a scheme that cannot be served.
fn plain(name: &str, url: &Url) -> Result<(), Complaint> {
    match url.scheme.as_str() {
        "http" => Ok(()),
        "https" => Err(Complaint::new(format!("--{name}={url} is refused: TLS is not built yet; use http"))),
        _ => Err(Complaint::new(format!("--{name}={url} is refused: unix sockets are not built yet; use http"))),
    }
}

/// Addresses to tell others. What nobody set follows from what is listened on, where that is an address others can use.
pub fn advertise(merged: &Merged, listen: &Listen) -> Result<Advertise, Complaint> {
    let advertise = Advertise {
        clients: told(merged, "advertise-client-urls", ("listen-client-urls", &listen.clients))?,
        peers: told(merged, "initial-advertise-peer-urls", ("listen-peer-urls", &listen.peers))?,
    };
    for url in &advertise.peers {
        plain("initial-advertise-peer-urls", url)?;
    }
    Ok(advertise)
}

fn told(merged: &Merged, name: &str, listen: (&str, &[Url])) -> Result<Vec<Url>, Complaint> {
    let (listen_name, listened) = listen;
    let list = if merged.is_set(name) || !merged.is_set(listen_name) {
        urls(merged, name)?
    } else if listened.iter().any(Url::is_wildcard) {
        return Err(Complaint::new(format!(
            "--{name} is required when --{listen_name} names every address; say which one others should use"
        )));
    } else {
        listened.to_vec()
    };
    if list.is_empty() {
        return Err(Complaint::new(format!("--{name} is empty; others could not find this node")));
    }
    if let Some(url) = list.iter().find(|url| url.is_wildcard()) {
        return Err(Complaint::new(format!("--{name}={url} is an address that nobody can connect to; name one host")));
    }
    Ok(list)
}

/// The first members, of which this node must be one, under the address it advertises.
pub fn cluster(merged: &Merged, name: &str, advertise: &Advertise) -> Result<Cluster, Complaint> {
    if name.is_empty() || (merged.text("data-dir").is_empty() && name.contains('/')) {
        return Err(Complaint::new(format!("--name={name} must be a plain word, such as n1")));
    }
    let existing = match merged.text("initial-cluster-state") {
        "new" => false,
        "existing" => true,
        other => {
            return Err(Complaint::new(format!(
                "invalid value \"{other}\" for flag --initial-cluster-state: it must be new or existing"
            )));
        }
    };
    let token = merged.text("initial-cluster-token").to_string();
    let members = match merged.text("initial-cluster") {
        "" => vec![Member { name: name.to_string(), peers: sorted(&advertise.peers) }],
        said => members(said)?,
    };
    let Some(own) = members.iter().find(|member| member.name == name) else {
        let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
        return Err(Complaint::new(format!(
            "couldn't find local name \"{name}\" in the initial cluster configuration, which has {}; set --name",
            names.join(", ")
        )));
    };
    matches_advertised(&own.peers, &sorted(&advertise.peers), name)?;
    Ok(Cluster { members, token, existing })
}

fn sorted(urls: &[Url]) -> Vec<Url> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls
}

/// `name=url,name=url`; a name said twice has several addresses.
fn members(said: &str) -> Result<Vec<Member>, Complaint> {
    let mut by_name: BTreeMap<&str, Vec<Url>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for part in text::list(said) {
        let Some((name, url)) = part.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Complaint::new(format!("--initial-cluster: `{part}` should be name=url")));
        };
        if url.is_empty() {
            return Err(Complaint::new(format!("--initial-cluster: empty URL given for \"{name}\"")));
        }
        let url = Url::parse(url).map_err(|e| Complaint::new(format!("--initial-cluster: {e}")))?;
        plain("initial-cluster", &url)?;
        if !seen.insert(url.clone()) {
            return Err(Complaint::new(format!("--initial-cluster has the duplicate URL {url}")));
        }
        by_name.entry(name).or_default().push(url);
    }
    Ok(by_name.into_iter().map(|(name, peers)| Member { name: name.to_string(), peers: sorted(&peers) }).collect())
}

/// Both must mean the same addresses, in whatever words (a host name here, its number there).
fn matches_advertised(cluster: &[Url], advertised: &[Url], name: &str) -> Result<(), Complaint> {
    if cluster == advertised {
        return Ok(());
    }
    let resolved = |urls: &[Url]| -> Option<BTreeSet<_>> {
        urls.iter().map(|url| url.authority().to_socket_addrs().ok()?.min()).collect()
    };
    if let (Some(a), Some(b)) = (resolved(cluster), resolved(advertised))
        && a == b
    {
        return Ok(());
    }
    let show = |urls: &[Url]| urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",");
    Err(Complaint::new(format!(
        "--initial-cluster has {name}={} but --initial-advertise-peer-urls={}; make them equal",
        show(cluster),
        show(advertised)
    )))
}
