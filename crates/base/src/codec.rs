//! Varints and length-prefixed bytes: the alphabet of frames and records. Decoding never panics and never allocates
//! more than it was given.

use crate::{Error, Result};
use bytes::{Buf, Bytes};

/// Appends `v` in LEB128, 1 to 10 bytes.
pub fn put_u64(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends the length, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, b: &[u8]) {
    put_u64(out, b.len() as u64);
    out.extend_from_slice(b);
}

/// Takes a varint off the front.
pub fn get_u64(buf: &mut Bytes) -> Result<u64> {
    let (v, bytes) = read_u64(buf)?;
    buf.advance(bytes);
    Ok(v)
}

/// A varint, and how many bytes it takes.
fn read_u64(buf: &[u8]) -> Result<(u64, usize)> {
    let mut v: u64 = 0;
    for (i, b) in buf.iter().take(10).enumerate() {
        let part = u64::from(b & 0x7f);
        if i == 9 && part > 1 {
            return Err(Error::corrupt("a number is larger than 64 bits"));
        }
        v |= part << (7 * i);
        if b & 0x80 == 0 {
            return Ok((v, i + 1));
        }
    }
    let why = if buf.len() < 10 { "a number is cut off" } else { "a number is larger than 64 bits" };
    Err(Error::corrupt(why))
}

/// Takes length-prefixed bytes off the front, sharing the buffer.
pub fn get_bytes(buf: &mut Bytes) -> Result<Bytes> {
    let n = get_u64(buf)?;
    if n > buf.len() as u64 {
        return Err(Error::corrupt(format!("{n} bytes are announced and {} are there", buf.len())));
    }
    Ok(buf.split_to(n as usize))
}

/// Takes one byte off the front.
pub fn get_u8(buf: &mut Bytes) -> Result<u8> {
    if buf.is_empty() {
        return Err(Error::corrupt("a byte is missing"));
    }
    Ok(buf.get_u8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_refuse_rubbish() {
        for v in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_u64(&mut out, v);
            assert_eq!(get_u64(&mut Bytes::from(out)).unwrap(), v);
        }
        assert!(get_u64(&mut Bytes::from_static(&[0x80])).is_err());
        assert!(get_u64(&mut Bytes::from_static(&[0xff; 10])).is_err());
        assert!(get_bytes(&mut Bytes::from_static(&[5, 1, 2])).is_err());
    }
}
