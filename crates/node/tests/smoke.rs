//! The thinnest whole path: nodes in one thread, a network that loses nothing, disks that keep everything.

mod world;

use base::Revision;
use node::ClientAsk;
use range::Answer;
use world::World;

#[test]
fn one_node_puts_and_gets() {
    let mut w = World::new(1, &[]);
    assert_eq!(w.scan(0, "a", "z"), (1, vec![]), "a fresh store is at 1");
    assert_eq!(w.put(0, "k", "1"), Revision(2));
    assert_eq!(w.put(0, "k", "2"), Revision(3));
    assert_eq!(w.scan(0, "a", "z"), (3, vec![("k".into(), "2".into(), 3)]));
}

#[test]
fn three_nodes_and_three_ranges_answer_through_any_node() {
    let mut w = World::new(3, &["g", "n"]);
    for (i, key) in ["a", "h", "z", "a", "n"].iter().enumerate() {
        assert_eq!(w.put(i % 3, key, &i.to_string()), Revision(i as u64 + 2), "{key}");
    }
    let all = vec![
        ("a".into(), "3".into(), 5),
        ("h".into(), "1".into(), 3),
        ("n".into(), "4".into(), 6),
        ("z".into(), "2".into(), 4),
    ];
    for node in 0..3 {
        assert_eq!(w.scan(node, "a", "zz"), (6, all.clone()), "node {node}");
    }
    let mut hashes = Vec::new();
    for node in 0..3 {
        let o = w.call(node, ClientAsk::Hash(Revision::ZERO)).unwrap();
        let Answer::Hash { hash, .. } = o.answer else { panic!("a hash is answered with a hash") };
        hashes.push(hash);
    }
    assert!(hashes[0] != 0 && hashes.iter().all(|h| *h == hashes[0]), "{hashes:?}");
    w.call(1, ClientAsk::Compact(Revision(5))).unwrap();
    assert!(w.call(2, ClientAsk::Compact(Revision(5))).is_err(), "compacted already");
}
