//! Sizes: what is too large is refused with etcd's words, what is just allowed is served, replies may be larger than
//! gRPC's default.

use crate::cases;
use crate::target::{Case, Ctx, INVALID_ARGUMENT, Outcome, RESOURCE_EXHAUSTED, refused};
use etcd_client::GetOptions;

pub const CASES: &[Case] = cases![Within: limit_request_bytes, limit_message_bytes, limit_large_reply,
    limit_many_keys, limit_long_key];

const MIB: usize = 1 << 20;

async fn limit_request_bytes(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let put = client.put(c.key("a"), vec![b'x'; MIB * 3 / 2 + 1], None).await;
    refused(put, INVALID_ARGUMENT, "etcdserver: request is too large");
    client.put(c.key("a"), vec![b'x'; MIB * 3 / 2 - 1024], None).await?;
    assert_eq!(client.get(c.key("a"), None).await?.kvs()[0].value().len(), MIB * 3 / 2 - 1024);
    Ok(())
}

/// Beyond 2 MiB gRPC itself refuses.
async fn limit_message_bytes(c: Ctx) -> Outcome {
    let put = c.client().await.put(c.key("a"), vec![b'x'; 3 * MIB], None).await;
    match put {
        Ok(_) => panic!("3 MiB were taken"),
        Err(error) => assert_eq!(harness::rpc::status(&error).0, RESOURCE_EXHAUSTED, "{error}"),
    }
    Ok(())
}

async fn limit_large_reply(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    for (i, key) in ["a", "b", "c", "d", "d1", "d2", "e", "e1"].into_iter().enumerate() {
        client.put(c.key(key), vec![b'0' + i as u8; MIB], None).await?;
    }
    let mut kv = client.kv_client().max_decoding_message_size(64 * MIB);
    let reply = kv.get(c.key(""), Some(GetOptions::new().with_prefix())).await?;
    assert_eq!((reply.count(), reply.more()), (8, false));
    for (i, kv) in reply.kvs().iter().enumerate() {
        assert!(kv.value().len() == MIB && kv.value().iter().all(|b| *b == b'0' + i as u8), "value {i}");
    }
    Ok(())
}

/// Thousands of keys in one reply, with limits along the way.
async fn limit_many_keys(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    for chunk in 0..20 {
        let put = |i: usize| etcd_client::TxnOp::put(c.key(&format!("a{:05}", chunk * 100 + i)), "v", None);
        client.txn(etcd_client::Txn::new().and_then((0..100).map(put).collect::<Vec<_>>())).await?;
    }
    let reply = client.get(c.key("a"), Some(GetOptions::new().with_prefix())).await?;
    assert_eq!((reply.kvs().len(), reply.count()), (2000, 2000));
    let mut from = c.key("a");
    let mut pages = 0;
    loop {
        let page = client.get(from, Some(GetOptions::new().with_range(c.key("b")).with_limit(300))).await?;
        pages += 1;
        if !page.more() {
            assert_eq!((pages, page.count()), (7, 200), "six pages of 300 and what is left");
            return Ok(());
        }
        from = [page.kvs().last().expect("a page").key(), b"\0"].concat();
    }
}

async fn limit_long_key(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let long = c.key(&format!("a{}", "k".repeat(64 << 10)));
    client.put(long.clone(), "1", None).await?;
    client.put([long.as_slice(), b"\0"].concat(), "2", None).await?;
    let reply = client.get(long.clone(), None).await?;
    assert_eq!((reply.count(), reply.kvs()[0].key()), (1, long.as_slice()));
    assert_eq!(client.delete(long, Some(etcd_client::DeleteOptions::new().with_prefix())).await?.deleted(), 2);
    Ok(())
}
