//! Txn's compares: every target with every operator, missing keys, spans.

use crate::cases;
use crate::target::{Case, Ctx, Outcome};
use etcd_client::{Client, Compare, CompareOp, Error, Txn};

pub const CASES: &[Case] = cases![Within: compare_every_target, compare_missing_key, compare_value_bytes, compare_span,
    compare_empty_span, compare_deleted; Across: compare_span_across, compare_keys_across];

const OPS: [CompareOp; 4] = [CompareOp::Equal, CompareOp::Greater, CompareOp::Less, CompareOp::NotEqual];

/// Does `actual op asked` hold?
fn expected(actual: i64, op: CompareOp, asked: i64) -> bool {
    match op {
        CompareOp::Equal => actual == asked,
        CompareOp::Greater => actual > asked,
        CompareOp::Less => actual < asked,
        CompareOp::NotEqual => actual != asked,
    }
}

async fn holds(client: &mut Client, compare: Compare) -> Result<bool, Error> {
    Ok(client.txn(Txn::new().when([compare])).await?.succeeded())
}

/// Makes a compare of a key with a number.
type Make = fn(Vec<u8>, CompareOp, i64) -> Compare;

async fn compare_every_target(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a", "1"), ("b", "x"), ("a", "5"), ("a", "5")]).await?;
    let key = || c.key("a");
    let targets: [(&str, i64, Make); 5] = [
        ("version", 3, Compare::version),
        ("create", made[0], Compare::create_revision),
        ("mod", made[3], Compare::mod_revision),
        ("lease", 0, Compare::lease),
        ("value", 5, |key, op, n| Compare::value(key, op, n.to_string())),
    ];
    for (name, actual, compare) in targets {
        for op in OPS {
            for asked in [actual - 1, actual, actual + 1] {
                let asked = if name == "value" { asked.clamp(1, 9) } else { asked };
                let held = holds(&mut client, compare(key(), op, asked)).await?;
                assert_eq!(held, expected(actual, op, asked), "{name} {actual} {op:?} {asked}");
            }
        }
    }
    Ok(())
}

/// A missing key is a zero key-value; only its value compares with nothing.
async fn compare_missing_key(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    for op in OPS {
        for asked in [-1, 0, 1] {
            for compare in [Compare::version, Compare::create_revision, Compare::mod_revision, Compare::lease] {
                assert_eq!(holds(&mut client, compare(c.key("a"), op, asked)).await?, expected(0, op, asked));
            }
        }
        for value in ["", "x"] {
            assert!(!holds(&mut client, Compare::value(c.key("a"), op, value)).await?, "value {op:?} {value:?}");
        }
    }
    Ok(())
}

async fn compare_value_bytes(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    client.put(c.key("a"), vec![1, 0xff], None).await?;
    for (op, value, held) in [
        (CompareOp::Equal, vec![1, 0xff], true),
        (CompareOp::Equal, vec![1], false),
        (CompareOp::Greater, vec![1], true),
        (CompareOp::Greater, vec![0xff], false),
        (CompareOp::Less, vec![1, 0xff, 0], true),
        (CompareOp::NotEqual, vec![], true),
    ] {
        assert_eq!(holds(&mut client, Compare::value(c.key("a"), op, value)).await?, held);
    }
    Ok(())
}

/// A compare over a span holds if it holds for every key in it.
async fn compare_span(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let made = c.put_all(&mut client, &[("a1", "x"), ("a2", "x"), ("a3", "y"), ("a2", "x")]).await?;
    let version = |op, n| Compare::version(c.key("a1"), op, n);
    let value = |op, v: &str| Compare::value(c.key("a1"), op, v);
    for (compare, held) in [
        (version(CompareOp::Greater, 0).with_range(c.key("a9")), true),
        (version(CompareOp::Equal, 1).with_range(c.key("a9")), false),
        (version(CompareOp::Equal, 1).with_range(c.key("a2")), true),
        (value(CompareOp::Equal, "x").with_range(c.key("a3")), true),
        (value(CompareOp::Equal, "x").with_range(c.key("a4")), false),
        (Compare::mod_revision(c.key("a"), CompareOp::Less, made[3] + 1).with_prefix(), true),
        (Compare::mod_revision(c.key("a"), CompareOp::Less, made[3]).with_prefix(), false),
        (Compare::create_revision(c.key("a"), CompareOp::Less, made[2] + 1).with_prefix(), true),
        (Compare::lease(c.key("a"), CompareOp::Equal, 0).with_prefix(), true),
    ] {
        assert_eq!(holds(&mut client, compare.clone()).await?, held, "{compare:?}");
    }
    Ok(())
}

/// A span without keys compares as one zero key-value.
async fn compare_empty_span(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let span = |compare: Compare| compare.with_range(c.key("a9"));
    assert!(holds(&mut client, span(Compare::version(c.key("a1"), CompareOp::Equal, 0))).await?);
    assert!(!holds(&mut client, span(Compare::version(c.key("a1"), CompareOp::Greater, 0))).await?);
    assert!(holds(&mut client, span(Compare::create_revision(c.key("a1"), CompareOp::Less, 1))).await?);
    assert!(!holds(&mut client, span(Compare::value(c.key("a1"), CompareOp::Equal, ""))).await?);
    Ok(())
}

async fn compare_deleted(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("a", "2")]).await?;
    client.delete(c.key("a"), None).await?;
    assert!(holds(&mut client, Compare::version(c.key("a"), CompareOp::Equal, 0)).await?);
    assert!(holds(&mut client, Compare::mod_revision(c.key("a"), CompareOp::Equal, 0)).await?);
    assert!(!holds(&mut client, Compare::value(c.key("a"), CompareOp::NotEqual, "2")).await?);
    Ok(())
}

async fn compare_span_across(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "1"), ("d", "2")]).await?;
    let value = |v: &str| Compare::value(c.key("a"), CompareOp::Equal, v);
    assert!(holds(&mut client, value("1").with_range(c.key("c"))).await?);
    assert!(!holds(&mut client, value("1").with_range(c.key("e"))).await?);
    Ok(())
}

async fn compare_keys_across(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("e", "2")]).await?;
    let both = [Compare::value(c.key("a"), CompareOp::Equal, "1"), Compare::value(c.key("e"), CompareOp::Equal, "2")];
    assert!(client.txn(Txn::new().when(both)).await?.succeeded());
    Ok(())
}
