//! Range: spans, limits, sorting, filters, old revisions; over several ranges always at one revision.

use crate::cases;
use crate::target::{Case, Ctx, INVALID_ARGUMENT, OUT_OF_RANGE, Outcome, newest, refused, revision};
use etcd_client::{Client, Error, GetOptions, SortOrder, SortTarget};
use harness::raw::{self, Message};

pub const CASES: &[Case] = cases![Within: get_missing, get_spans, get_from_key, get_everything, get_limit, get_sorted,
    get_sorted_with_limit, get_unsorted_target, get_keys_only, get_count_only, get_filtered, get_old, get_old_span,
    get_future, get_empty_key, get_negative, get_serializable, get_wrong_enum, get_header];

fn options() -> GetOptions {
    GetOptions::new()
}

/// a to e with differing values, versions and revisions: created e d c b a, values 3 1 2 5 4, versions 1 2 3 4 5.
async fn fill(c: &Ctx, client: &mut Client) -> Result<Vec<i64>, Error> {
    let mut made = Vec::new();
    for (key, value, version) in [("e", "4", 5), ("d", "5", 4), ("c", "2", 3), ("b", "1", 2), ("a", "3", 1)] {
        for _ in 0..version {
            made.extend(c.put_all(client, &[(key, value)]).await?);
        }
    }
    Ok(made)
}

async fn get_missing(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let reply = client.get(c.key("a"), None).await?;
    assert_eq!((reply.kvs().len(), reply.count(), reply.more()), (0, 0, false));
    assert!(revision(reply.header()) >= 1);
    Ok(())
}

async fn get_spans(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("d", "4"), ("b", "2"), ("a", "1"), ("c", "3"), ("a1", "1"), ("b1", "2")]).await?;
    for (start, end, expected) in [
        ("a", "c", &["a=1", "a1=1", "b=2", "b1=2"][..]),
        ("a1", "b1", &["a1=1", "b=2"]),
        ("a0", "bz", &["a1=1", "b=2", "b1=2"]),
        ("b", "b", &[]),
        ("c", "b", &[]),
        ("c", "z", &["c=3", "d=4"]),
    ] {
        let reply = client.get(c.key(start), Some(options().with_range(c.key(end)))).await?;
        assert_eq!(
            (c.show(reply.kvs()).as_slice(), reply.more()),
            (&expected.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..], false)
        );
        assert_eq!(reply.count() as usize, expected.len(), "[{start},{end})");
    }
    assert_eq!(c.show(client.get(c.key("b"), Some(options().with_prefix())).await?.kvs()), ["b=2", "b1=2"]);
    Ok(())
}

async fn get_from_key(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "2"), ("c", "3")]).await?;
    let reply = client.get(c.key("b"), Some(options().with_from_key().with_limit(2))).await?;
    assert_eq!((c.show(reply.kvs()), reply.count() >= 2), (vec!["b=2".to_string(), "c=3".into()], true));
    Ok(())
}

async fn get_everything(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("e", "5"), ("c", "3")]).await?;
    let reply = client.get("", Some(options().with_all_keys())).await?;
    assert!(reply.kvs().is_sorted_by(|x, y| x.key() < y.key()), "in key order, none twice");
    assert_eq!(reply.count() as usize, reply.kvs().len());
    let own: Vec<_> = reply.kvs().iter().filter(|kv| kv.key().starts_with(&c.key(""))).cloned().collect();
    assert_eq!(c.show(&own), ["a=1", "c=3", "e=5"]);
    Ok(())
}

async fn get_limit(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("d1", "5")]).await?;
    for limit in 1..=6 {
        let reply = client.get(c.key(""), Some(options().with_prefix().with_limit(limit))).await?;
        let shown = (limit as usize).min(5);
        assert_eq!(c.keys(reply.kvs()), ["a", "b", "c", "d", "d1"][..shown]);
        assert_eq!((reply.more(), reply.count()), (limit < 5, 5), "limit {limit}");
    }
    Ok(())
}

async fn get_sorted(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    fill(&c, &mut client).await?;
    for (target, ascending) in [
        (SortTarget::Key, "abcde"),
        (SortTarget::Version, "abcde"),
        (SortTarget::Create, "edcba"),
        (SortTarget::Mod, "edcba"),
        (SortTarget::Value, "bcaed"),
    ] {
        for (order, expected) in
            [(SortOrder::Ascend, ascending.to_string()), (SortOrder::Descend, ascending.chars().rev().collect())]
        {
            let reply = client.get(c.key(""), Some(options().with_prefix().with_sort(target, order))).await?;
            assert_eq!(c.keys(reply.kvs()).concat(), expected, "{target:?} {order:?}");
        }
    }
    Ok(())
}

/// The limit comes after the sort: first-created and last-modified are asked for like this by locks.
async fn get_sorted_with_limit(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    fill(&c, &mut client).await?;
    for (target, order, expected) in [
        (SortTarget::Create, SortOrder::Ascend, "ed"),
        (SortTarget::Create, SortOrder::Descend, "ab"),
        (SortTarget::Value, SortOrder::Descend, "de"),
        (SortTarget::Key, SortOrder::Descend, "ed"),
    ] {
        let options = options().with_prefix().with_sort(target, order).with_limit(2);
        let reply = client.get(c.key(""), Some(options)).await?;
        assert_eq!((c.keys(reply.kvs()).concat().as_str(), reply.more(), reply.count()), (expected, true, 5));
    }
    Ok(())
}

/// A target other than the key without an order means ascending.
async fn get_unsorted_target(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    fill(&c, &mut client).await?;
    let options = options().with_prefix().with_sort(SortTarget::Create, SortOrder::None);
    assert_eq!(c.keys(client.get(c.key(""), Some(options)).await?.kvs()).concat(), "edcba");
    Ok(())
}

async fn get_keys_only(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = fill(&c, &mut client).await?;
    let reply = client.get(c.key(""), Some(options().with_prefix().with_keys_only())).await?;
    assert_eq!(c.show(reply.kvs()), ["a=", "b=", "c=", "d=", "e="]);
    assert_eq!(reply.kvs()[0].mod_revision(), *made.last().expect("fifteen"), "the revisions are there");
    Ok(())
}

async fn get_count_only(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    fill(&c, &mut client).await?;
    for options in [options(), options().with_limit(2)] {
        let reply = client.get(c.key(""), Some(options.with_prefix().with_count_only())).await?;
        assert_eq!((reply.kvs().len(), reply.count(), reply.more()), (0, 5, false));
    }
    Ok(())
}

/// Filters shape the key-values, never the count; the limit counts what is left.
async fn get_filtered(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = fill(&c, &mut client).await?; // e 0-4, d 5-8, c 9-11, b 12-13, a 14
    for (options, expected) in [
        (options().with_min_mod_revision(made[8]), "abcd"),
        (options().with_max_mod_revision(made[8]), "de"),
        (options().with_min_mod_revision(made[8]).with_max_mod_revision(made[11]), "cd"),
        (options().with_min_create_revision(made[9]), "abc"),
        (options().with_max_create_revision(made[5]), "de"),
        (options().with_min_create_revision(made[5]).with_max_mod_revision(made[11]), "cd"),
        (options().with_max_mod_revision(1), ""),
    ] {
        let reply = client.get(c.key(""), Some(options.with_prefix())).await?;
        assert_eq!((c.keys(reply.kvs()).concat().as_str(), reply.count()), (expected, 5));
    }
    let limited = options().with_prefix().with_min_mod_revision(made[8]).with_limit(3);
    let reply = client.get(c.key(""), Some(limited)).await?;
    assert_eq!((c.keys(reply.kvs()).concat().as_str(), reply.more()), ("abc", true));
    Ok(())
}

async fn get_old(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a", "1"), ("b", "x"), ("a", "2"), ("a", "3")]).await?;
    for (at, expected) in [(made[0], "a=1"), (made[1], "a=1"), (made[2], "a=2"), (made[3], "a=3")] {
        let reply = client.get(c.key("a"), Some(options().with_revision(at))).await?;
        assert_eq!(c.show(reply.kvs()), [expected]);
        assert_eq!(revision(reply.header()), made[3], "the header tells the newest revision, not the one asked for");
    }
    assert_eq!(client.get(c.key("a"), Some(options().with_revision(made[0] - 1))).await?.count(), 0);
    Ok(())
}

async fn get_old_span(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a", "1"), ("b", "1"), ("c", "1"), ("a", "2"), ("d", "1")]).await?;
    client.delete(c.key("b"), None).await?;
    for (at, expected) in
        [(made[2], "a=1b=1c=1"), (made[3], "a=2b=1c=1"), (made[4], "a=2b=1c=1d=1"), (made[4] + 1, "a=2c=1d=1")]
    {
        let reply = client.get(c.key(""), Some(options().with_prefix().with_revision(at))).await?;
        assert_eq!((c.show(reply.kvs()).concat().as_str(), reply.more()), (expected, false), "at {at}");
        assert_eq!(reply.count() as usize, expected.len() / 3);
    }
    Ok(())
}

async fn get_future(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let now = newest(&mut client).await?;
    for options in [options(), options().with_range(c.key("z")), options().with_count_only()] {
        let reply = client.get(c.key("a"), Some(options.with_revision(now + 100_000))).await;
        refused(reply, OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision");
    }
    Ok(())
}

async fn get_empty_key(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    refused(client.get("", None).await, INVALID_ARGUMENT, "etcdserver: key is not provided");
    refused(client.get("", Some(options().with_range("z"))).await, INVALID_ARGUMENT, "etcdserver: key is not provided");
    Ok(())
}

/// A revision or limit below zero means none.
async fn get_negative(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "2")]).await?;
    let reply = client.get(c.key(""), Some(options().with_prefix().with_revision(-1).with_limit(-1))).await?;
    assert_eq!((c.keys(reply.kvs()).concat().as_str(), reply.more()), ("ab", false));
    Ok(())
}

/// A serializable read may be old, but not for ever, on no node.
async fn get_serializable(c: Ctx) -> Outcome {
    c.put_all(&mut c.client().await, &[("a", "1"), ("c", "2"), ("e", "3")]).await?;
    for at in 0..c.endpoints.len() {
        let mut client = c.client_at(at).await;
        let mut tries = 0;
        loop {
            let reply = client.get(c.key(""), Some(options().with_prefix().with_serializable())).await?;
            if c.keys(reply.kvs()).concat() == "ace" {
                break;
            }
            tries += 1;
            assert!(tries < 100, "node {at} still shows {:?} after 5 s", c.show(reply.kvs()));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Etcd 3.4 lets unknown enums through; later ones refuse them, and so do we.
async fn get_wrong_enum(c: Ctx) -> Outcome {
    if c.is_etcd() {
        return Ok(());
    }
    for (field, value) in [(5, 3), (5, 99), (6, 5), (6, 1000)] {
        let request = Message::new().bytes(1, c.key("a")).number(field, value);
        let reply = raw::call(&c.endpoints[c.home], "/etcdserverpb.KV/Range", request).await;
        refused(reply, INVALID_ARGUMENT, "etcdserver: invalid sort option");
    }
    Ok(())
}

/// Ids in the header: one cluster, the member that was asked, a term.
async fn get_header(c: Ctx) -> Outcome {
    let members = c.client().await.member_list().await?;
    let mut clusters = std::collections::BTreeSet::new();
    for (at, endpoint) in c.endpoints.iter().enumerate() {
        let reply = c.client_at(at).await.get(c.key("a"), None).await?;
        let header = reply.header().expect("a header");
        let member = members.members().iter().find(|m| m.client_urls().contains(endpoint)).expect("listed");
        assert_eq!(header.member_id(), member.id());
        assert!(header.raft_term() > 0);
        clusters.insert(header.cluster_id());
    }
    assert_eq!(clusters.len(), 1);
    assert!(!clusters.contains(&0));
    Ok(())
}
