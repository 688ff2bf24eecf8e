//! Keys and spans.
//!
//! Inside Flotilla a key is one tag byte followed by the bytes its owner knows: [`SYSTEM`] for the system's own
//! records, [`USER`] for what clients store. The gateway adds the tag at the door (it must copy a small key anyway, or
//! twenty bytes would pin a whole network buffer) and takes it off when it answers. So every span has a plain end,
//! and "to the end of the key space" is just `[x, USER + 1)`.

use bytes::Bytes;
use std::fmt;

/// First byte of the system's own keys.
pub const SYSTEM: u8 = 1;
/// First byte of users' keys.
pub const USER: u8 = 2;

/// A key with its tag byte. Ordered bytewise.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

impl Key {
    /// A user's key: copies `raw` behind the tag.
    pub fn user(raw: &[u8]) -> Key {
        Key::tagged(USER, raw)
    }
    /// A system key: copies `raw` behind the tag.
    pub fn system(raw: &[u8]) -> Key {
        Key::tagged(SYSTEM, raw)
    }
    fn tagged(tag: u8, raw: &[u8]) -> Key {
        let mut k = Vec::with_capacity(raw.len() + 1);
        k.push(tag);
        k.extend_from_slice(raw);
        Key(Bytes::from(k))
    }
    /// What its owner calls it: without the tag, sharing the bytes.
    pub fn raw(&self) -> Bytes {
        if self.0.is_empty() { Bytes::new() } else { self.0.slice(1..) }
    }
    /// All bytes, tag included.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
    /// The smallest key that is larger than this one.
    #[must_use]
    pub fn next(&self) -> Key {
        let mut k = Vec::with_capacity(self.0.len() + 1);
        k.extend_from_slice(&self.0);
        k.push(0);
        Key(Bytes::from(k))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first() {
            None => write!(f, "-"),
            Some(&SYSTEM) => write!(f, "sys/{}", self.0[1..].escape_ascii()),
            Some(&USER) => write!(f, "{}", self.0[1..].escape_ascii()),
            Some(_) => write!(f, "\\x{}", self.0.escape_ascii()),
        }
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[start, end)` of keys. Empty when `start >= end`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First key inside.
    pub start: Key,
    /// First key behind it.
    pub end: Key,
}

impl Span {
    /// The span from `start` up to, not including, `end`.
    pub fn new(start: Key, end: Key) -> Span {
        Span { start, end }
    }
    /// The span that holds this key alone.
    pub fn point(key: &Key) -> Span {
        Span { start: key.clone(), end: key.next() }
    }
    /// All of the system's keys.
    pub fn system() -> Span {
        Span::new(Key(Bytes::from_static(&[SYSTEM])), Key(Bytes::from_static(&[USER])))
    }
    /// All of the users' keys.
    pub fn users() -> Span {
        Span::new(Key(Bytes::from_static(&[USER])), Key(Bytes::from_static(&[USER + 1])))
    }
    /// Holds no key at all.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
    /// Does it hold this key?
    pub fn contains(&self, key: &Key) -> bool {
        self.start <= *key && *key < self.end
    }
    /// Does it hold every key of `other`? An empty span is inside any.
    pub fn covers(&self, other: &Span) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }
    /// Do the two share a key?
    pub fn overlaps(&self, other: &Span) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end && other.start < self.end
    }
    /// What the two share, `None` when nothing.
    pub fn intersection(&self, other: &Span) -> Option<Span> {
        if !self.overlaps(other) {
            return None;
        }
        Some(Span::new(self.start.clone().max(other.start.clone()), self.end.clone().min(other.end.clone())))
    }
    /// Is it a single key?
    pub fn is_point(&self) -> bool {
        let (s, e) = (self.start.bytes(), self.end.bytes());
        e.len() == s.len() + 1 && e[s.len()] == 0 && &e[..s.len()] == s
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_point() { write!(f, "[{}]", self.start) } else { write!(f, "[{},{})", self.start, self.end) }
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_and_overlap() {
        let s = |a: &str, b: &str| Span::new(Key::user(a.as_bytes()), Key::user(b.as_bytes()));
        assert!(s("a", "c").overlaps(&s("b", "d")));
        assert!(!s("a", "b").overlaps(&s("b", "d")));
        assert!(!s("b", "b").overlaps(&s("a", "d")), "an empty span overlaps nothing");
        assert!(Span::users().covers(&s("a", "zz")));
        assert!(!Span::users().overlaps(&Span::system()));
        assert_eq!(s("a", "c").intersection(&s("b", "d")), Some(s("b", "c")));
        assert!(Span::point(&Key::user(b"k")).is_point());
        assert!(!s("k", "l").is_point());
    }

    #[test]
    fn next_is_the_successor() {
        let k = Key::user(b"k");
        assert!(k < k.next());
        assert!(k.next() < Key::user(b"k\x00\x00"));
        assert_eq!(k.raw(), Bytes::from_static(b"k"));
    }
}
