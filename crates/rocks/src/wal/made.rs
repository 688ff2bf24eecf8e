//! Logs as RocksDB writes them.

use super::*;

/// Appends one fragment.
pub(crate) fn push(bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let mut body = vec![kind];
    body.extend_from_slice(payload);
    let crc = crc32c::crc32c(&body).rotate_right(15).wrapping_add(0xa282_ead8);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&body);
}

/// Appends a record, in as many fragments as it takes.
pub(crate) fn append(bytes: &mut Vec<u8>, mut payload: &[u8]) {
    for first in [true, false].into_iter().chain(std::iter::repeat(false)) {
        let left = BLOCK - bytes.len() % BLOCK;
        if left < HEADER {
            bytes.extend(std::iter::repeat_n(0, left));
        }
        let room = BLOCK - bytes.len() % BLOCK - HEADER;
        let (part, rest) = payload.split_at(payload.len().min(room));
        let kind = match (first, rest.is_empty()) {
            (true, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        push(bytes, kind, part);
        payload = rest;
        if rest.is_empty() {
            return;
        }
    }
}

pub(crate) fn batch(first: u64, count: u32, durable: u64, filler: usize) -> Vec<u8> {
    let mut payload = first.to_le_bytes().to_vec();
    payload.extend_from_slice(&count.to_le_bytes());
    payload.extend_from_slice(&[LOG_DATA, MARK_BYTES as u8]);
    payload.extend_from_slice(&mark(durable));
    payload.extend(std::iter::repeat_n(b'x', filler));
    payload
}
