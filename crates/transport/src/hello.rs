//! Who is talking: the first message on every stream, in both directions.

use base::codec::{get_bytes, get_u64, put_bytes, put_u64};
use base::{BootId, ClusterId, Error, Incarnation, Result, StoreId};
use bytes::Bytes;
use std::fmt;

/// The layout written below. A reader refuses a larger number; fields added at the end keep it, because a reader
/// ignores what follows the fields it knows.
const LAYOUT: u64 = 1;
/// A longer name is refused.
const MAX_NAME_BYTES: usize = 256;
/// A longer text from the wire is cut before anybody prints it.
const MAX_TEXT_BYTES: usize = 1024;

/// What a node says about itself before it says anything else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which store it is.
    pub store: StoreId,
    /// Drawn when its directory was empty: another boot id under a known store means that the disk was emptied.
    pub boot: BootId,
    /// Raised at each of its starts.
    pub incarnation: Incarnation,
    /// Its name, for people.
    pub name: String,
    /// A hash of the settings that are fixed at bootstrap and must be equal everywhere; 0 means that it has not learnt
    /// them yet and is never compared.
    pub fingerprint: u64,
    /// The newest set of features it can speak.
    pub feature_level: u32,
    /// Where clients reach it, comma-separated; empty from a node that does not say.
    pub client_urls: String,
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hello { cluster, store, boot, incarnation, name, .. } = self;
        write!(f, "{store} {name} of {cluster}, boot {boot}, incarnation {incarnation}")
    }
}

impl Hello {
    /// Appends, in this order: layout, cluster, store, boot, incarnation, name, fingerprint, feature level, client addresses; numbers as
    /// varints, the name with its length before it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, LAYOUT);
        put_u64(out, self.cluster.0);
        put_u64(out, self.store.0);
        put_u64(out, self.boot.0);
        put_u64(out, self.incarnation.0);
        put_bytes(out, self.name.as_bytes());
        put_u64(out, self.fingerprint);
        put_u64(out, u64::from(self.feature_level));
        put_bytes(out, self.client_urls.as_bytes());
    }

    /// The opposite of `encode`; anything may come in.
    pub(crate) fn decode(mut buf: Bytes) -> Result<Hello> {
        let layout = get_u64(&mut buf)?;
        if layout != LAYOUT {
            return Err(Error::corrupt(format!("its hello has layout {layout}, this node knows layout {LAYOUT}")));
        }
        let cluster = ClusterId(get_u64(&mut buf)?);
        let store = StoreId(get_u64(&mut buf)?);
        let boot = BootId(get_u64(&mut buf)?);
        let incarnation = Incarnation(get_u64(&mut buf)?);
        let name = get_bytes(&mut buf)?;
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::corrupt(format!("a name of {} bytes", name.len())));
        }
        let fingerprint = get_u64(&mut buf)?;
        let feature_level = u32::try_from(get_u64(&mut buf)?).map_err(|_| Error::corrupt("a feature level"))?;
        let urls = get_bytes(&mut buf)?;
        let (name, client_urls) = (one_line(&name), one_line(&urls));
        Ok(Hello { cluster, store, boot, incarnation, name, fingerprint, feature_level, client_urls })
    }

    /// The rules that hold everywhere, before `admit` is asked: `self` is what the other side said, `ours` is what we
    /// say. The text is told to both sides, so it names both.
    pub(crate) fn check(&self, ours: &Hello) -> std::result::Result<(), String> {
        let (they, we) = (Named(self), Named(ours));
        if self.store == ours.store && self.boot == ours.boot {
            return Err(format!("{they} is this very node: a peer address leads back to it"));
        }
        if self.cluster != ours.cluster {
            return Err(format!(
                "{they} belongs to cluster {:x}, {we} to cluster {:x}: compare --initial-cluster and \
                 --initial-cluster-token",
                self.cluster.0, ours.cluster.0
            ));
        }
        if self.store == ours.store {
            return Err(format!("{they} and {we} claim the same identity {} on different disks", self.store));
        }
        if self.fingerprint != ours.fingerprint && self.fingerprint != 0 && ours.fingerprint != 0 {
            return Err(format!(
                "{they} and {we} differ in settings that are fixed when a cluster is bootstrapped: compare \
                 --initial-split-keys, --election-timeout and --replication-factor"
            ));
        }
        Ok(())
    }
}

/// A node as people know it.
struct Named<'a>(&'a Hello);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.name, self.0.store)
    }
}

/// Text from the wire, fit to be printed: one line, bounded, no control characters.
pub(crate) fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_BYTES)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hello(store: u64) -> Hello {
        Hello {
            cluster: ClusterId(77),
            store: StoreId(store),
            boot: BootId(1000 + store),
            incarnation: Incarnation(3),
            name: format!("infra{store}"),
            fingerprint: 5,
            feature_level: 1,
            client_urls: String::new(),
        }
    }

    #[test]
    fn a_hello_comes_back_and_rubbish_does_not() {
        let mut out = Vec::new();
        hello(1).encode(&mut out);
        assert_eq!(Hello::decode(Bytes::from(out.clone())).unwrap(), hello(1));
        for cut in 0..out.len() {
            assert!(Hello::decode(Bytes::from(out[..cut].to_vec())).is_err(), "cut at {cut}");
        }
        out.extend_from_slice(b"a field of a later version");
        assert_eq!(Hello::decode(Bytes::from(out.clone())).unwrap(), hello(1), "later fields are ignored");
        out[0] = 2;
        let text = Hello::decode(Bytes::from(out)).unwrap_err().text;
        assert_eq!(text, "its hello has layout 2, this node knows layout 1");
    }

    #[test]
    fn each_mismatch_has_its_own_reason() {
        let ours = hello(1);
        assert_eq!(hello(2).check(&ours), Ok(()));
        let says = |change: fn(&mut Hello), part: &str| {
            let mut theirs = hello(2);
            change(&mut theirs);
            let text = theirs.check(&ours).unwrap_err();
            assert!(text.contains(part) && !text.contains('\n'), "{text}");
        };
        says(|h| h.cluster = ClusterId(78), "belongs to cluster 4e, infra1 (n1) to cluster 4d");
        says(|h| h.fingerprint = 6, "--initial-split-keys");
        says(|h| h.store = StoreId(1), "claim the same identity n1");
        says(|h| (h.store, h.boot) = (StoreId(1), BootId(1001)), "is this very node");
        let young = Hello { fingerprint: 0, ..hello(2) };
        assert_eq!(young.check(&ours), Ok(()), "a node that has not learnt the settings is not compared");
    }

    #[test]
    fn text_from_the_wire_is_one_bounded_line() {
        assert_eq!(one_line(b"a\nb\x1b[31m\xff"), "a b [31m\u{fffd}");
        assert!(one_line(&[b'x'; 5000]).len() <= MAX_TEXT_BYTES);
    }
}
