//! DeleteRange: what goes, what is told of it, and that nothing gone takes no revision.

use crate::cases;
use crate::target::{Case, Ctx, INVALID_ARGUMENT, Outcome, newest, refused, revision, times};
use etcd_client::DeleteOptions;

pub const CASES: &[Case] = cases![Within: delete_missing, delete_one, delete_prev_kv, delete_span, delete_prefix,
    delete_empty_span, delete_empty_key, delete_then_put, delete_keeps_history; Across: delete_across];

/// Runs last: it deletes everything behind it.
pub const LAST: &[Case] = cases![Within: zz_delete_from_key];

fn options() -> DeleteOptions {
    DeleteOptions::new()
}

async fn delete_missing(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let before = newest(&mut client).await?;
    let reply = client.delete(c.key("a"), None).await?;
    assert_eq!((reply.deleted(), revision(reply.header())), (0, before), "no revision for nothing");
    Ok(())
}

async fn delete_one(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let put = c.put_all(&mut client, &[("a", "1"), ("a1", "2")]).await?[1];
    let reply = client.delete(c.key("a"), None).await?;
    assert_eq!((reply.deleted(), revision(reply.header()), reply.prev_kvs().len()), (1, put + 1, 0));
    assert_eq!(c.all(&mut client).await?, ["a1=2"]);
    Ok(())
}

async fn delete_prev_kv(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let puts = c.put_all(&mut client, &[("a2", "2"), ("a1", "1"), ("a1", "3")]).await?;
    let reply = client.delete(c.key("a"), Some(options().with_prefix().with_prev_key())).await?;
    assert_eq!((reply.deleted(), c.show(reply.prev_kvs())), (2, vec!["a1=3".into(), "a2=2".into()]));
    assert_eq!(times(&reply.prev_kvs()[0]), (puts[1], puts[2], 2));
    Ok(())
}

async fn delete_span(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let puts = c.put_all(&mut client, &[("a1", "1"), ("a2", "2"), ("a3", "3"), ("a4", "4")]).await?;
    let reply = client.delete(c.key("a2"), Some(options().with_range(c.key("a4")))).await?;
    assert_eq!((reply.deleted(), revision(reply.header())), (2, puts[3] + 1), "all at one revision");
    assert_eq!(c.all(&mut client).await?, ["a1=1", "a4=4"]);
    Ok(())
}

async fn delete_prefix(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "0"), ("a1", "1"), ("a2", "2"), ("b", "3")]).await?;
    assert_eq!(client.delete(c.key("a"), Some(options().with_prefix())).await?.deleted(), 3);
    assert_eq!(c.all(&mut client).await?, ["b=3"]);
    Ok(())
}

async fn delete_empty_span(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let put = c.put_all(&mut client, &[("a1", "1"), ("a2", "2")]).await?[1];
    for (start, end) in [("a2", "a1"), ("a1", "a1"), ("a11", "a12")] {
        let reply = client.delete(c.key(start), Some(options().with_range(c.key(end)))).await?;
        assert_eq!((reply.deleted(), revision(reply.header())), (0, put), "[{start},{end})");
    }
    Ok(())
}

async fn delete_empty_key(c: Ctx) -> Outcome {
    refused(c.client().await.delete("", None).await, INVALID_ARGUMENT, "etcdserver: key is not provided");
    Ok(())
}

async fn delete_then_put(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("a", "2")]).await?;
    client.delete(c.key("a"), None).await?;
    let put = c.put_all(&mut client, &[("a", "3")]).await?[0];
    assert_eq!(times(&client.get(c.key("a"), None).await?.kvs()[0]), (put, put, 1), "a new life");
    Ok(())
}

async fn delete_keeps_history(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let put = c.put_all(&mut client, &[("a", "1")]).await?[0];
    let deleted = revision(client.delete(c.key("a"), None).await?.header());
    let at = |r| Some(etcd_client::GetOptions::new().with_revision(r));
    assert_eq!(c.show(client.get(c.key("a"), at(put)).await?.kvs()), ["a=1"]);
    assert_eq!(client.get(c.key("a"), at(deleted)).await?.count(), 0);
    Ok(())
}

async fn delete_across(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let puts = c.put_all(&mut client, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await?;
    let reply = client.delete(c.key("b"), Some(options().with_range(c.key("d")).with_prev_key())).await?;
    assert_eq!((reply.deleted(), revision(reply.header())), (2, puts[3] + 1));
    assert_eq!(c.show(reply.prev_kvs()), ["b=2", "c=3"]);
    assert_eq!(c.all(&mut client).await?, ["a=1", "d=4"]);
    Ok(())
}

async fn zz_delete_from_key(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("e1", "2"), ("e2", "3"), ("z", "4")]).await?;
    assert_eq!(client.delete(c.key("e2"), Some(options().with_from_key())).await?.deleted(), 2);
    assert_eq!(c.all(&mut client).await?, ["a=1", "e1=2"]);
    Ok(())
}
