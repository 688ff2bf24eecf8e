use super::made::{append, batch, push};
use super::*;

/// What is in it: records by their begin, damage by its kind and begin.
fn read(bytes: &[u8]) -> (Vec<usize>, Option<(Damage, usize)>) {
    let (mut records, mut damage) = (Vec::new(), None);
    let told = walk(Log::Wal(None), bytes, &mut |found| {
        match found {
            Found::Record { start, .. } => records.push(start),
            Found::Damage { at, what, .. } => drop(damage.get_or_insert((what, at))),
        }
        Ok(())
    });
    told.expect("nobody refuses");
    (records, damage)
}

fn three() -> (Vec<u8>, [usize; 3]) {
    let (mut bytes, mut starts) = (Vec::new(), [0; 3]);
    for (i, start) in starts.iter_mut().enumerate() {
        *start = bytes.len();
        append(&mut bytes, &batch(10 + 2 * i as u64, 2, 9, 20));
    }
    (bytes, starts)
}

#[test]
fn sound_logs_are_read_to_the_end() {
    let (bytes, starts) = three();
    assert_eq!(read(&bytes), (starts.to_vec(), None));
    assert_eq!(read(&[]), (vec![], None));
    assert_eq!(Batch::read(&batch(10, 2, 9, 0)), Some(Batch { first: 10, next: 12, durable: 9 }));
    assert_eq!(Batch::read(&[0; 12]).map(|b| b.durable), Some(u64::MAX), "no mark: it must not be dropped");
}

#[test]
fn the_manifest_says_which_log_is_needed_and_how_far_the_files_go() {
    let edit = |log, keep, last| Edit { log, keep, changes: true, last };
    assert_eq!(Edit::read(&[2, 68, 3, 70, 4, 99, 103, 0]), edit(Some(68), None, Some(99)));
    assert_eq!(Edit::read(&[0x81, 0x40, 2, b'i', b'd', 1, 1, b'c', 2, 0x80, 1, 3, 9]), edit(Some(128), None, None));
    assert_eq!(Edit::read(&[2, 68]), Edit { log: Some(68), ..Edit::default() }, "a family, as a manifest begins");
    let whole = [9, 0, 3, 70, 0x80 | 75, 1, 2, 10, 5, 4, 7, 103, 0];
    assert_eq!(Edit::read(&whole), edit(None, Some(5), Some(7)), "whatever else may come before it");
    assert_eq!(Edit::read(&whole[..6]), edit(None, None, None));
    assert_eq!(Edit::read(&[103, 2, 68, 4, 9]), Edit::default(), "not behind what is not known here");
    assert_eq!(Edit::read(&[0x81, 0x40, 200, b'i']), Edit::default());
}

#[test]
fn a_torn_tail_is_torn() {
    let (bytes, starts) = three();
    for cut in starts[2] + 1..bytes.len() {
        assert_eq!(read(&bytes[..cut]), (starts[..2].to_vec(), Some((Damage::End, starts[2]))), "cut at {cut}");
    }
    let mut zeros = bytes.clone();
    zeros.extend([0; 100]);
    assert_eq!(read(&zeros).1, Some((Damage::Empty, bytes.len())), "room that was allocated ahead");
}

#[test]
fn every_flipped_bit_before_the_last_record_is_found() {
    let (bytes, starts) = three();
    for bit in 0..starts[2] * 8 {
        let mut rotten = bytes.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        let (records, damage) = read(&rotten);
        let found = |(what, at)| !matches!(what, Damage::End | Damage::Empty) && at <= bit / 8;
        assert!(damage.is_some_and(found), "bit {bit}: {damage:?}");
        assert_eq!(records.last(), Some(&starts[2]), "bit {bit}: it goes on behind");
    }
}

#[test]
fn a_kind_that_is_never_written_is_rot_even_in_a_torn_tail() {
    let (mut bytes, starts) = three();
    for kind in [5, 6, 7, 8, 11, 131] {
        bytes[starts[2] + 6] = kind;
        for cut in [bytes.len(), bytes.len() - 1, starts[2] + HEADER] {
            assert_eq!(read(&bytes[..cut]).1, Some((Damage::Foreign, starts[2])), "kind {kind}, cut to {cut}");
        }
    }
}

#[test]
fn records_cross_blocks_and_are_found_in_later_ones() {
    let mut bytes = Vec::new();
    append(&mut bytes, &batch(5, 1, 0, BLOCK - 2 * HEADER - 23 - 4));
    let second = bytes.len();
    // Four bytes of payload fit; the record goes on in the next block.
    append(&mut bytes, &batch(6, 3, 0, 100));
    assert_eq!(read(&bytes), (vec![0, second], None));
    assert_eq!(read(&bytes[..BLOCK]), (vec![0], Some((Damage::End, second))), "a first fragment alone");
    assert_eq!(read(&bytes[..BLOCK + 3]).1, Some((Damage::End, BLOCK)));
    let end = bytes.len();
    append(&mut bytes, &batch(9, 1, 0, 3 * BLOCK));
    bytes[second + HEADER] ^= 1;
    assert_eq!(
        read(&bytes),
        (vec![0, end], Some((Damage::Checksum, second))),
        "without its first fragment a record is none"
    );
}

#[test]
fn a_record_without_its_first_or_last_fragment_is_damaged() {
    for (kinds, what) in [([1, 4, 1], Damage::Length), ([2, 1, 1], Damage::Length), ([1, 1, 2], Damage::End)] {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for (i, kind) in kinds.into_iter().enumerate() {
            starts.push(bytes.len());
            push(&mut bytes, kind, &batch(10 + i as u64, 1, 9, 20));
        }
        let odd = kinds.iter().position(|kind| *kind != 1).unwrap();
        assert_eq!(read(&bytes).1, Some((what, starts[odd])), "{kinds:?}");
    }
}

/// A batch has more changes than its damaged end has bytes.
#[test]
fn what_is_behind_a_large_batch_is_found() {
    let mut bytes = Vec::new();
    append(&mut bytes, &batch(10, 2, 9, 20));
    append(&mut bytes, &batch(12, 600_000, 9, 20 * BLOCK));
    let last = bytes.len() / BLOCK * BLOCK;
    let behind = bytes.len();
    append(&mut bytes, &batch(600_012, 1, 600_011, 20));
    bytes[last + 5] ^= 0x80;
    assert_eq!(read(&bytes), (vec![0, behind], Some((Damage::Length, last))));
}

/// A value may hold a log. Only what goes on from the last sound batch is one of ours.
#[test]
fn what_a_value_holds_is_not_taken_for_a_record() {
    let mut log = Vec::new();
    (0..9).for_each(|i| append(&mut log, &batch(500_000 + i, 1, 100, 20)));
    let mut forged = Vec::new();
    (0..9).for_each(|_| append(&mut forged, &batch(12, 1, u64::MAX, 20)));
    for kind in 2..=4 {
        push(&mut forged, kind, b"a fragment that is not where one of its kind would be");
    }
    let mut older = Vec::new();
    append(&mut older, &batch(9, 1, 8, 20));
    for value in [log, forged, older] {
        let mut bytes = Vec::new();
        append(&mut bytes, &batch(10, 2, 9, 20));
        let start = bytes.len();
        append(&mut bytes, &[&batch(12, 2, 9, 20)[..], &value[..], &[0; 100][..]].concat());
        bytes.truncate(bytes.len() - 100);
        assert_eq!(read(&bytes), (vec![0], Some((Damage::End, start))));
    }
}

#[test]
fn a_hole_is_an_empty_sector_behind_the_begin_of_the_damage() {
    let holes = |zeros: std::ops::Range<usize>| {
        let mut bytes = Vec::new();
        append(&mut bytes, &batch(1, 1, 0, 700));
        append(&mut bytes, &batch(2, 1, 0, 3000));
        push(&mut bytes, 1, &batch(3, 1, 0, 10));
        bytes[zeros].fill(0);
        let mut holes = Vec::new();
        let told = walk(Log::Wal(None), &bytes, &mut |found| {
            if let Found::Damage { hole, .. } = found {
                holes.push(hole);
            }
            Ok(())
        });
        told.expect("nobody refuses");
        holes
    };
    assert_eq!(holes(0..0), []);
    assert_eq!(holes(1024..1536), [true]);
    assert_eq!(holes(1025..1536), [false], "a sector is written whole or not at all");
    assert_eq!(holes(730..1024), [true], "the second record begins at 730; before it the sector is as it was");
    assert_eq!(holes(731..1024), [false]);
    assert_eq!(holes(512..1024), [true], "also what is before it was lost");
}
