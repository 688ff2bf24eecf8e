//! Txn: branches, the order of operations, one revision for all, nesting, and what is refused before anything happens.

use crate::cases;
use crate::target::{Case, Ctx, INVALID_ARGUMENT, NOT_FOUND, OUT_OF_RANGE, Outcome, newest, refused, revision};
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use harness::raw::{self, Message};

pub const CASES: &[Case] = cases![Within: txn_branches, txn_empty, txn_no_effect, txn_one_revision, txn_in_order,
    txn_prev_kv, txn_nested, txn_nested_sees_before, txn_duplicate_put, txn_put_in_deleted_span,
    txn_delete_twice, txn_duplicate_nested, txn_branches_exclude, txn_too_many, txn_budget, txn_empty_key,
    txn_missing_op, txn_old_reads, txn_future_read, txn_refused_whole, txn_unknown_lease, txn_scan_options,
    txn_create_if_absent, txn_swap; Across: txn_across, txn_reads_across, txn_nested_across];

fn put(c: &Ctx, key: &str, value: &str) -> TxnOp {
    TxnOp::put(c.key(key), value, None)
}

fn get(c: &Ctx, key: &str) -> TxnOp {
    TxnOp::get(c.key(key), None)
}

fn delete(c: &Ctx, key: &str) -> TxnOp {
    TxnOp::delete(c.key(key), None)
}

fn scan(c: &Ctx, prefix: &str) -> TxnOp {
    TxnOp::get(c.key(prefix), Some(GetOptions::new().with_prefix()))
}

fn then(ops: impl Into<Vec<TxnOp>>) -> Txn {
    Txn::new().and_then(ops)
}

/// A compare that holds as long as nobody has put `never`.
fn yes(c: &Ctx) -> Compare {
    Compare::version(c.key("a-never"), CompareOp::Equal, 0)
}

fn no(c: &Ctx) -> Compare {
    Compare::version(c.key("a-never"), CompareOp::Greater, 0)
}

/// Every operation's answer on one line, nested ones in parentheses.
fn show(c: &Ctx, reply: &TxnResponse) -> String {
    let one = |r: TxnOpResponse| match r {
        TxnOpResponse::Get(g) => format!("get[{}]{}", c.show(g.kvs()).join(","), g.count()),
        TxnOpResponse::Put(p) => {
            let prev: Vec<_> = p.prev_key().cloned().into_iter().collect();
            format!("put{}", if prev.is_empty() { String::new() } else { format!("[{}]", c.show(&prev).join(",")) })
        }
        TxnOpResponse::Delete(d) => {
            let prev = c.show(d.prev_kvs()).join(",");
            format!("del{}{}", d.deleted(), if prev.is_empty() { prev } else { format!("[{prev}]") })
        }
        TxnOpResponse::Txn(t) => format!("({})", show(c, &t)),
    };
    let ops: Vec<String> = reply.op_responses().into_iter().map(one).collect();
    format!("{} {}", if reply.succeeded() { "then" } else { "else" }, ops.join(" "))
}

async fn txn_branches(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let both = |compare| Txn::new().when([compare]).and_then([put(&c, "a1", "then")]).or_else([put(&c, "a2", "else")]);
    assert_eq!(show(&c, &client.txn(both(yes(&c))).await?), "then put");
    assert_eq!(c.all(&mut client).await?, ["a1=then"]);
    assert_eq!(show(&c, &client.txn(both(no(&c))).await?), "else put");
    assert_eq!(c.all(&mut client).await?, ["a1=then", "a2=else"]);
    let and = Txn::new().when([yes(&c), no(&c)]).and_then([put(&c, "a3", "x")]);
    assert_eq!(show(&c, &client.txn(and).await?), "else ", "all compares must hold");
    Ok(())
}

async fn txn_empty(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let before = newest(&mut client).await?;
    let reply = client.txn(Txn::new()).await?;
    assert_eq!((reply.succeeded(), reply.op_responses().len(), revision(reply.header())), (true, 0, before));
    Ok(())
}

/// What changes nothing takes no revision.
async fn txn_no_effect(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let put_at = c.put_all(&mut client, &[("a1", "1")]).await?[0];
    for txn in [
        then([get(&c, "a1"), scan(&c, "a")]),
        then([delete(&c, "a-never"), get(&c, "a1")]),
        Txn::new().when([no(&c)]).and_then([put(&c, "a1", "2")]),
        then([TxnOp::txn(then([get(&c, "a1")]))]),
    ] {
        assert_eq!(revision(client.txn(txn).await?.header()), put_at);
    }
    Ok(())
}

async fn txn_one_revision(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let before = newest(&mut client).await?;
    let reply = client.txn(then([put(&c, "a1", "1"), put(&c, "a2", "2"), put(&c, "a3", "3")])).await?;
    assert_eq!(revision(reply.header()), before + 1);
    let scan = client.get(c.key("a"), Some(GetOptions::new().with_prefix())).await?;
    assert!(scan.kvs().iter().all(|kv| kv.mod_revision() == before + 1 && kv.create_revision() == before + 1));
    assert_eq!(revision(scan.header()), before + 1);
    Ok(())
}

async fn txn_in_order(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a1", "old"), ("a2", "old")]).await?;
    let ops = [
        get(&c, "a1"),
        put(&c, "a1", "new"),
        get(&c, "a1"),
        delete(&c, "a2"),
        scan(&c, "a"),
        put(&c, "a3", "3"),
        scan(&c, "a"),
    ];
    let reply = client.txn(then(ops)).await?;
    assert_eq!(
        show(&c, &reply),
        "then get[a1=old]1 put get[a1=new]1 del1 get[a1=new]1 put get[a1=new,a3=3]2",
        "each operation sees those before it"
    );
    Ok(())
}

async fn txn_prev_kv(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a1", "1"), ("a2", "2"), ("a3", "3")]).await?;
    let reply = client
        .txn(then([
            TxnOp::put(c.key("a1"), "x", Some(PutOptions::new().with_prev_key())),
            TxnOp::delete(c.key("a2"), Some(DeleteOptions::new().with_range(c.key("a9")).with_prev_key())),
            TxnOp::put(c.key("a0"), "y", Some(PutOptions::new().with_prev_key())),
        ]))
        .await?;
    assert_eq!(show(&c, &reply), "then put[a1=1] del2[a2=2,a3=3] put");
    Ok(())
}

async fn txn_nested(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let inner = Txn::new().when([no(&c)]).and_then([put(&c, "a8", "x")]).or_else([put(&c, "a2", "2"), get(&c, "a1")]);
    let middle = Txn::new().when([yes(&c)]).and_then([TxnOp::txn(inner), get(&c, "a2")]);
    let reply = client.txn(then([put(&c, "a1", "1"), TxnOp::txn(middle), put(&c, "a3", "3")])).await?;
    assert_eq!(show(&c, &reply), "then put (then (else put get[a1=1]1) get[a2=2]1) put");
    let at = revision(reply.header());
    let all = client.get(c.key("a"), Some(GetOptions::new().with_prefix())).await?;
    assert!(all.kvs().len() == 3 && all.kvs().iter().all(|kv| kv.mod_revision() == at));
    Ok(())
}

/// Compares of nested transactions look at the state before the whole.
async fn txn_nested_sees_before(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let absent = Compare::version(c.key("a1"), CompareOp::Equal, 0);
    let inner = Txn::new().when([absent]).and_then([put(&c, "a2", "absent")]).or_else([put(&c, "a2", "there")]);
    let reply = client.txn(then([put(&c, "a1", "1"), TxnOp::txn(inner)])).await?;
    assert_eq!(show(&c, &reply), "then put (then put)");
    assert_eq!(c.all(&mut client).await?, ["a1=1", "a2=absent"]);
    Ok(())
}

const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";

async fn txn_duplicate_put(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let twice = [put(&c, "a1", "1"), put(&c, "a1", "1")];
    refused(client.txn(then(twice.clone())).await, INVALID_ARGUMENT, DUPLICATE);
    let not_taken = Txn::new().when([yes(&c)]).or_else(twice);
    refused(client.txn(not_taken).await, INVALID_ARGUMENT, DUPLICATE);
    assert_eq!(c.all(&mut client).await?, [""; 0]);
    Ok(())
}

async fn txn_put_in_deleted_span(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let span = || TxnOp::delete(c.key("a1"), Some(DeleteOptions::new().with_range(c.key("a5"))));
    for ops in [
        vec![put(&c, "a1", "1"), delete(&c, "a1")],
        vec![delete(&c, "a1"), put(&c, "a1", "1")],
        vec![span(), put(&c, "a1", "1")],
        vec![put(&c, "a4", "1"), span()],
    ] {
        refused(client.txn(then(ops)).await, INVALID_ARGUMENT, DUPLICATE);
    }
    client.txn(then([span(), put(&c, "a5", "1"), put(&c, "a0", "1")])).await?;
    Ok(())
}

async fn txn_delete_twice(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a1", "1"), ("a2", "2")]).await?;
    let prefix = TxnOp::delete(c.key("a"), Some(DeleteOptions::new().with_prefix()));
    let reply = client.txn(then([delete(&c, "a1"), delete(&c, "a1"), prefix])).await?;
    assert_eq!(show(&c, &reply), "then del1 del0 del1");
    Ok(())
}

async fn txn_duplicate_nested(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let nest = |op| TxnOp::txn(then([op]));
    for ops in [
        vec![put(&c, "a1", "1"), nest(put(&c, "a1", "2"))],
        vec![nest(put(&c, "a1", "1")), nest(put(&c, "a1", "2"))],
        vec![delete(&c, "a1"), nest(put(&c, "a1", "2"))],
        vec![nest(delete(&c, "a1")), put(&c, "a1", "2")],
    ] {
        refused(client.txn(then(ops)).await, INVALID_ARGUMENT, DUPLICATE);
    }
    Ok(())
}

/// Only one branch is run, so both may write the same key, also in a nested transaction.
async fn txn_branches_exclude(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let either = || Txn::new().when([no(&c)]).and_then([put(&c, "a1", "1")]).or_else([put(&c, "a1", "2")]);
    client.txn(either()).await?;
    client.txn(then([TxnOp::txn(either()), put(&c, "a2", "3")])).await?;
    assert_eq!(c.all(&mut client).await?, ["a1=2", "a2=3"]);
    Ok(())
}

const TOO_MANY: &str = "etcdserver: too many operations in txn request";

async fn txn_too_many(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let puts = |n: usize| (0..n).map(|i| put(&c, &format!("a{i:03}"), "x")).collect::<Vec<_>>();
    let compares = |n: usize| (0..n).map(|_| yes(&c)).collect::<Vec<_>>();
    refused(client.txn(then(puts(129))).await, INVALID_ARGUMENT, TOO_MANY);
    refused(client.txn(Txn::new().or_else(puts(129))).await, INVALID_ARGUMENT, TOO_MANY);
    refused(client.txn(Txn::new().when(compares(129))).await, INVALID_ARGUMENT, TOO_MANY);
    let reply = client.txn(Txn::new().when(compares(128)).and_then(puts(128)).or_else(puts(128))).await?;
    assert_eq!(reply.op_responses().len(), 128);
    Ok(())
}

/// A nested transaction has what the one around it leaves.
async fn txn_budget(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let gets = |n: usize| vec![get(&c, "a1"); n];
    let nested = |inner: usize| {
        let mut ops = gets(99);
        ops.push(TxnOp::txn(then(gets(inner))));
        then(ops)
    };
    refused(client.txn(nested(29)).await, INVALID_ARGUMENT, TOO_MANY);
    assert_eq!(client.txn(nested(28)).await?.op_responses().len(), 100);
    Ok(())
}

async fn txn_empty_key(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let text = "etcdserver: key is not provided";
    for txn in [
        then([TxnOp::put("", "1", None)]),
        then([TxnOp::get("", None)]),
        then([TxnOp::delete("", None)]),
        then([TxnOp::txn(then([TxnOp::put("", "1", None)]))]),
        Txn::new().when([Compare::version("", CompareOp::Equal, 0)]),
    ] {
        refused(client.txn(txn).await, INVALID_ARGUMENT, text);
    }
    Ok(())
}

async fn txn_missing_op(c: Ctx) -> Outcome {
    let request = Message::new().message(2, Message::new());
    let reply = raw::call(&c.endpoints[c.home], "/etcdserverpb.KV/Txn", request).await;
    refused(reply, INVALID_ARGUMENT, "etcdserver: key not found");
    Ok(())
}

async fn txn_old_reads(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a1", "1"), ("a1", "2")]).await?;
    let old = TxnOp::get(c.key("a1"), Some(GetOptions::new().with_revision(made[0])));
    let reply = client.txn(then([put(&c, "a1", "3"), old, get(&c, "a1")])).await?;
    assert_eq!(show(&c, &reply), "then put get[a1=1]1 get[a1=3]1");
    Ok(())
}

async fn txn_future_read(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let future = newest(&mut client).await? + 1000;
    let text = "etcdserver: mvcc: required revision is a future revision";
    let read = TxnOp::get(c.key("a1"), Some(GetOptions::new().with_revision(future)));
    refused(client.txn(then([read.clone()])).await, OUT_OF_RANGE, text);
    if c.is_etcd() {
        return Ok(()); // 3.4's nodes drift apart over the next one (etcd's bug 18667)
    }
    refused(client.txn(then([put(&c, "a1", "1"), read])).await, OUT_OF_RANGE, text);
    assert_eq!(c.all(&mut client).await?, [""; 0], "refused before anything was written");
    Ok(())
}

async fn txn_refused_whole(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let before = newest(&mut client).await?;
    let ignore = TxnOp::put(c.key("a2"), "", Some(PutOptions::new().with_ignore_value()));
    refused(client.txn(then([put(&c, "a1", "1"), ignore])).await, INVALID_ARGUMENT, "etcdserver: key not found");
    let provided = TxnOp::put(c.key("a2"), "x", Some(PutOptions::new().with_ignore_value()));
    refused(client.txn(then([provided])).await, INVALID_ARGUMENT, "etcdserver: value is provided");
    assert_eq!(newest(&mut client).await?, before);
    Ok(())
}

async fn txn_unknown_lease(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let leased = TxnOp::put(c.key("a2"), "x", Some(PutOptions::new().with_lease(0x7777)));
    let reply = client.txn(then([put(&c, "a1", "1"), leased])).await;
    refused(reply, NOT_FOUND, "etcdserver: requested lease not found");
    assert_eq!(c.all(&mut client).await?, [""; 0]);
    Ok(())
}

async fn txn_scan_options(c: Ctx) -> Outcome {
    use etcd_client::{SortOrder, SortTarget};
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a1", "1"), ("a2", "2"), ("a3", "3")]).await?;
    let prefix = || GetOptions::new().with_prefix();
    let reply = client
        .txn(then([
            TxnOp::get(c.key("a"), Some(prefix().with_limit(1))),
            TxnOp::get(c.key("a"), Some(prefix().with_sort(SortTarget::Create, SortOrder::Descend).with_limit(2))),
            TxnOp::get(c.key("a"), Some(prefix().with_count_only())),
            TxnOp::get(c.key("a"), Some(prefix().with_keys_only())),
        ]))
        .await?;
    assert_eq!(show(&c, &reply), "then get[a1=1]3 get[a3=3,a2=2]3 get[]3 get[a1=,a2=,a3=]3");
    Ok(())
}

/// How Kubernetes creates: put if the key was never modified, otherwise read it.
async fn txn_create_if_absent(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let create = |value| {
        let absent = Compare::mod_revision(c.key("a"), CompareOp::Equal, 0);
        Txn::new().when([absent]).and_then([put(&c, "a", value)]).or_else([get(&c, "a")])
    };
    assert_eq!(show(&c, &client.txn(create("1")).await?), "then put");
    assert_eq!(show(&c, &client.txn(create("2")).await?), "else get[a=1]1");
    Ok(())
}

/// How Kubernetes updates: put or delete if the key is still at this revision.
async fn txn_swap(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let first = c.put_all(&mut client, &[("a", "1")]).await?[0];
    let swap = |at, op| {
        let same = Compare::mod_revision(c.key("a"), CompareOp::Equal, at);
        Txn::new().when([same]).and_then([op]).or_else([get(&c, "a")])
    };
    let reply = client.txn(swap(first, put(&c, "a", "2"))).await?;
    assert_eq!(show(&c, &reply), "then put");
    assert_eq!(show(&c, &client.txn(swap(first, delete(&c, "a"))).await?), "else get[a=2]1");
    let second = revision(reply.header());
    assert_eq!(show(&c, &client.txn(swap(second, delete(&c, "a"))).await?), "then del1");
    Ok(())
}

async fn txn_across(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let reply = client.txn(then([put(&c, "a", "1"), put(&c, "c", "2"), delete(&c, "e"), get(&c, "b")])).await?;
    assert_eq!(show(&c, &reply), "then put put del0 get[]0");
    assert_eq!(c.all(&mut client).await?, ["a=1", "c=2"]);
    Ok(())
}

async fn txn_reads_across(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "2"), ("e", "5")]).await?;
    assert_eq!(show(&c, &client.txn(then([get(&c, "e"), get(&c, "a")])).await?), "then get[e=5]1 get[a=1]1");
    Ok(())
}

async fn txn_nested_across(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let reply = client.txn(then([put(&c, "a", "1"), TxnOp::txn(then([put(&c, "b", "2")]))])).await?;
    assert_eq!(show(&c, &reply), "then put (then put)");
    Ok(())
}
