//! Put: revisions, previous values, what is kept, what is refused.

use crate::cases;
use crate::target::{Case, Ctx, INVALID_ARGUMENT, NOT_FOUND, Outcome, newest, refused, revision, times};
use etcd_client::PutOptions;

pub const CASES: &[Case] = cases![Within: put_new, put_again, put_identical, put_empty_value, put_binary, put_prev_kv,
    put_ignore_value, put_ignore_lease, put_unknown_lease, put_empty_key, put_refused_changes_nothing, put_anywhere];

async fn put_new(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let before = newest(&mut client).await?;
    let put = revision(client.put(c.key("a"), "1", None).await?.header());
    assert_eq!(put, before + 1, "one effective transaction, one revision");
    let reply = client.get(c.key("a"), None).await?;
    assert_eq!(times(&reply.kvs()[0]), (put, put, 1));
    assert_eq!((reply.kvs()[0].value(), reply.kvs()[0].lease()), (&b"1"[..], 0));
    assert_eq!(revision(reply.header()), put);
    Ok(())
}

async fn put_again(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let revisions = c.put_all(&mut client, &[("a", "1"), ("b", "x"), ("a", "2"), ("a", "3")]).await?;
    assert_eq!(revisions[3], revisions[0] + 3);
    let reply = client.get(c.key("a"), None).await?;
    assert_eq!(times(&reply.kvs()[0]), (revisions[0], revisions[3], 3));
    assert_eq!(c.show(reply.kvs()), ["a=3"]);
    Ok(())
}

async fn put_identical(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let revisions = c.put_all(&mut client, &[("a", "1"), ("a", "1")]).await?;
    assert_eq!(revisions[1], revisions[0] + 1, "the same value is a new version");
    Ok(())
}

async fn put_empty_value(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "")]).await?;
    let reply = client.get(c.key("a"), None).await?;
    assert_eq!((reply.count(), reply.kvs()[0].value()), (1, &b""[..]));
    Ok(())
}

async fn put_binary(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let every: Vec<u8> = (0..=255).collect();
    let keys = [&b"a\x00"[..], b"a\x00\x00", b"a\x00\xff", b"a\x01", b"a\xff", b"a\xff\xff"];
    for key in keys.iter().rev() {
        client.put([c.key("").as_slice(), key].concat(), every.clone(), None).await?;
    }
    let reply = client.get(c.key("a"), Some(etcd_client::GetOptions::new().with_prefix())).await?;
    let found: Vec<&[u8]> = reply.kvs().iter().map(|kv| &kv.key()[c.key("").len()..]).collect();
    assert_eq!(found, keys, "byte order");
    assert!(reply.kvs().iter().all(|kv| kv.value() == every));
    Ok(())
}

async fn put_prev_kv(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let prev = || Some(PutOptions::new().with_prev_key());
    let first = client.put(c.key("a"), "1", prev()).await?;
    assert!(first.prev_key().is_none());
    let second = client.put(c.key("a"), "2", prev()).await?;
    let old = second.prev_key().expect("a previous value");
    let at = revision(first.header());
    assert_eq!((times(old), old.value()), ((at, at, 1), &b"1"[..]));
    assert!(client.put(c.key("a"), "3", None).await?.prev_key().is_none(), "not asked for");
    Ok(())
}

async fn put_ignore_value(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let ignore = || Some(PutOptions::new().with_ignore_value());
    refused(client.put(c.key("a"), "", ignore()).await, INVALID_ARGUMENT, "etcdserver: key not found");
    c.put_all(&mut client, &[("a", "1")]).await?;
    refused(client.put(c.key("a"), "2", ignore()).await, INVALID_ARGUMENT, "etcdserver: value is provided");
    client.put(c.key("a"), "", ignore()).await?;
    let reply = client.get(c.key("a"), None).await?;
    assert_eq!((reply.kvs()[0].value(), reply.kvs()[0].version()), (&b"1"[..], 2), "a new version of the old value");
    Ok(())
}

async fn put_ignore_lease(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let ignore = || PutOptions::new().with_ignore_lease();
    refused(client.put(c.key("a"), "1", Some(ignore())).await, INVALID_ARGUMENT, "etcdserver: key not found");
    c.put_all(&mut client, &[("a", "1")]).await?;
    let both = client.put(c.key("a"), "2", Some(ignore().with_lease(5))).await;
    refused(both, INVALID_ARGUMENT, "etcdserver: lease is provided");
    client.put(c.key("a"), "2", Some(ignore())).await?;
    assert_eq!(c.all(&mut client).await?, ["a=2"]);
    Ok(())
}

async fn put_unknown_lease(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let put = client.put(c.key("a"), "1", Some(PutOptions::new().with_lease(0x7777))).await;
    refused(put, NOT_FOUND, "etcdserver: requested lease not found");
    assert_eq!(c.all(&mut client).await?, [""; 0]);
    Ok(())
}

async fn put_empty_key(c: Ctx) -> Outcome {
    refused(c.client().await.put("", "1", None).await, INVALID_ARGUMENT, "etcdserver: key is not provided");
    Ok(())
}

async fn put_refused_changes_nothing(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let before = newest(&mut client).await?;
    let ignore = PutOptions::new().with_ignore_value();
    assert!(client.put(c.key("a"), "", Some(ignore)).await.is_err());
    assert!(client.put("", "1", None).await.is_err());
    assert_eq!(newest(&mut client).await?, before);
    Ok(())
}

/// Any node takes any write, and every node shows it at once.
async fn put_anywhere(c: Ctx) -> Outcome {
    for at in 0..c.endpoints.len() {
        for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")] {
            let value = format!("{value}{at}");
            let put = revision(c.client_at(at).await.put(c.key(key), value.clone(), None).await?.header());
            for reader in 0..c.endpoints.len() {
                let reply = c.client_at(reader).await.get(c.key(key), None).await?;
                assert_eq!(reply.kvs()[0].value(), value.as_bytes());
                assert_eq!((reply.kvs()[0].mod_revision(), revision(reply.header())), (put, put));
            }
        }
    }
    Ok(())
}
