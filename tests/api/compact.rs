//! Compact: one boundary for the whole store.

use crate::cases;
use crate::target::{Case, Ctx, OUT_OF_RANGE, Outcome, newest, refused};
use etcd_client::{CompactionOptions, GetOptions, Txn, TxnOp};

pub const CASES: &[Case] = cases![Within: compact_then_read, compact_refused, compact_physical, compact_everywhere,
    compact_inside_txn, compact_deleted, compact_keeps_the_newest];

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

fn at(revision: i64) -> Option<GetOptions> {
    Some(GetOptions::new().with_revision(revision))
}

async fn compact_then_read(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a", "1"), ("a", "2"), ("a", "3"), ("b", "x")]).await?;
    client.compact(made[1], None).await?;
    refused(client.get(c.key("a"), at(made[0])).await, OUT_OF_RANGE, COMPACTED);
    refused(client.get(c.key("b"), at(made[0])).await, OUT_OF_RANGE, COMPACTED);
    assert_eq!(c.show(client.get(c.key("a"), at(made[1])).await?.kvs()), ["a=2"], "the boundary itself is kept");
    assert_eq!(c.show(client.get(c.key("a"), at(made[2])).await?.kvs()), ["a=3"]);
    assert_eq!(c.all(&mut client).await?, ["a=3", "b=x"]);
    Ok(())
}

async fn compact_refused(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a", "1"), ("a", "2")]).await?;
    client.compact(made[1], None).await?;
    refused(client.compact(made[1], None).await, OUT_OF_RANGE, COMPACTED);
    refused(client.compact(made[0], None).await, OUT_OF_RANGE, COMPACTED);
    refused(client.compact(1, None).await, OUT_OF_RANGE, COMPACTED);
    let future = newest(&mut client).await? + 1;
    refused(client.compact(future, None).await, OUT_OF_RANGE, FUTURE);
    assert_eq!(newest(&mut client).await?, made[1], "a compaction takes no revision");
    Ok(())
}

async fn compact_physical(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a", "1"), ("a", "2"), ("a", "3")]).await?;
    client.compact(made[2], Some(CompactionOptions::new().with_physical())).await?;
    refused(client.get(c.key("a"), at(made[1])).await, OUT_OF_RANGE, COMPACTED);
    assert_eq!(c.all(&mut client).await?, ["a=3"]);
    Ok(())
}

/// All nodes and all keys see the same boundary at once.
async fn compact_everywhere(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made =
        c.put_all(&mut client, &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1"), ("a", "2")]).await?;
    client.compact(made[4], None).await?;
    for reader in 0..c.endpoints.len() {
        let mut client = c.client_at(reader).await;
        for key in ["a", "b", "c", "d", "e"] {
            refused(client.get(c.key(key), at(made[3])).await, OUT_OF_RANGE, COMPACTED);
        }
        let all = client.get(c.key(""), Some(GetOptions::new().with_prefix().with_revision(made[4]))).await?;
        assert_eq!(c.show(all.kvs()).concat(), "a=1b=1c=1d=1e=1");
    }
    Ok(())
}

async fn compact_inside_txn(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a1", "1"), ("a1", "2")]).await?;
    client.compact(made[1], None).await?;
    let read = TxnOp::get(c.key("a1"), at(made[0]));
    refused(client.txn(Txn::new().and_then([read.clone()])).await, OUT_OF_RANGE, COMPACTED);
    if c.is_etcd() {
        return Ok(()); // 3.4's nodes drift apart over the next one (etcd's bug 18667)
    }
    let ops = [TxnOp::put(c.key("a2"), "x", None), read];
    refused(client.txn(Txn::new().and_then(ops)).await, OUT_OF_RANGE, COMPACTED);
    assert_eq!(c.all(&mut client).await?, ["a1=2"], "nothing was written");
    Ok(())
}

async fn compact_deleted(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "1")]).await?;
    client.delete(c.key("a"), None).await?;
    let later = c.put_all(&mut client, &[("c", "1")]).await?[0];
    client.compact(later, Some(CompactionOptions::new().with_physical())).await?;
    assert_eq!(c.all(&mut client).await?, ["b=1", "c=1"]);
    let count = client.get(c.key(""), Some(GetOptions::new().with_prefix().with_count_only())).await?.count();
    assert_eq!(count, 2);
    Ok(())
}

/// A key untouched for long survives every compaction, with its own revisions.
async fn compact_keeps_the_newest(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let first = c.put_all(&mut client, &[("a", "1")]).await?[0];
    for round in 0..5 {
        let last = c.put_all(&mut client, &[("b", &round.to_string())]).await?[0];
        client.compact(last, Some(CompactionOptions::new().with_physical())).await?;
    }
    let reply = client.get(c.key("a"), None).await?;
    assert_eq!((reply.kvs()[0].mod_revision(), reply.kvs()[0].create_revision()), (first, first));
    Ok(())
}
