//! Lets clients in whose `:authority` is a URL.
//!
//! etcdctl 3.4, asked for `http://host:port`, sends exactly that as the `:authority` of some calls (`endpoint status`,
//! `endpoint hashkv`). It is no authority, Go's servers never look, and `h2` resets the stream with PROTOCOL_ERROR
//! before anybody can. So the bytes are mended on their way in: `http://` becomes `httpw..`, which is as long, decoded
//! and Huffman-coded (HPACK, RFC 7541, B), and made of letters that a host may have. Equal lengths leave every frame
//! and the header table of both sides as they were; the table then holds the mended text, so once per connection is
//! enough. Nothing here uses the authority.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What opens an HTTP/2 connection, before the first frame.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// A frame of headers larger than HTTP/2's first frame size is not looked into.
const LARGEST: usize = 16 << 10;
/// `:authority` in HPACK's fixed table.
const AUTHORITY: usize = 1;

/// `http://` and `https://` in HPACK's Huffman code, from the highest bit on, and what they become; the number of bits.
#[allow(clippy::unusual_byte_groupings, reason = "one group is one letter")]
const CODED: [(u64, u64, u32); 2] = [
    (0b100111_01001_01001_101011_1011100_011000_011000, 0b100111_01001_01001_101011_1111000_010111_010111, 41),
    (
        0b100111_01001_01001_101011_01000_1011100_011000_011000,
        0b100111_01001_01001_101011_01000_1111000_010111_010111,
        46,
    ),
];
/// The same as plain text.
const PLAIN: [(&[u8], &[u8]); 2] = [(b"http://", b"httpw.."), (b"https://", b"httpsw..")];

/// A socket whose incoming headers are mended.
pub struct Lenient<S> {
    socket: S,
    /// Bytes of the preface or of a payload that pass unseen.
    pass: usize,
    /// A frame of headers that has not arrived whole, or a piece of a frame's header.
    held: Vec<u8>,
    /// Mended and to be handed out first, from `given` on.
    ready: Vec<u8>,
    given: usize,
}

impl<S> Lenient<S> {
    /// For a connection whose preface has not been read yet.
    pub fn new(socket: S) -> Lenient<S> {
        Lenient { socket, pass: PREFACE, held: vec![], ready: vec![], given: 0 }
    }

    /// Mends whole frames in place; returns how many bytes may go on. The rest waits in `held`.
    fn mend(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let passing = self.pass.min(bytes.len() - at);
            self.pass -= passing;
            at += passing;
            let rest = bytes.len() - at;
            if rest == 0 {
                return at;
            }
            if rest < FRAME_HEADER || (is_headers(&bytes[at..]) && rest < frame_len(&bytes[at..])) {
                self.held.extend_from_slice(&bytes[at..]);
                return at;
            }
            let length = frame_len(&bytes[at..]);
            if is_headers(&bytes[at..]) {
                mend_headers(bytes[at + 4], &mut bytes[at + FRAME_HEADER..at + length]);
            }
            self.pass = length;
        }
    }

    /// How many more bytes the held frame needs before it can be judged.
    fn wanted(&self) -> usize {
        match self.held.len() < FRAME_HEADER {
            true => FRAME_HEADER - self.held.len(),
            false => frame_len(&self.held) - self.held.len(),
        }
    }

    /// The held frame goes on if it is whole, or if it turns out to be of another kind.
    fn release(&mut self) {
        if self.held.len() < FRAME_HEADER || (is_headers(&self.held) && self.held.len() < frame_len(&self.held)) {
            return;
        }
        let mut frame = std::mem::take(&mut self.held);
        let sent = self.mend(&mut frame);
        debug_assert_eq!(sent, frame.len(), "a whole frame is never held again");
        (self.ready, self.given) = (frame, 0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.given < this.ready.len() {
                let n = buf.remaining().min(this.ready.len() - this.given);
                buf.put_slice(&this.ready[this.given..this.given + n]);
                this.given += n;
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
                let sent = this.mend(&mut buf.filled_mut()[before..]);
                if sent > 0 || this.held.is_empty() {
                    buf.set_filled(before + sent);
                    return Poll::Ready(Ok(()));
                }
                buf.set_filled(before); // all of it is held: nothing read would mean the end
            } else {
                let mut piece = vec![0; this.wanted()];
                let mut more = ReadBuf::new(&mut piece);
                ready!(Pin::new(&mut this.socket).poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    (this.ready, this.given) = (std::mem::take(&mut this.held), 0); // the peer left within a frame
                    this.pass = usize::MAX;
                    continue;
                }
                this.held.extend_from_slice(more.filled());
                this.release();
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// The whole frame that begins here, its header included. At least [`FRAME_HEADER`] bytes are there.
fn frame_len(frame: &[u8]) -> usize {
    FRAME_HEADER + (usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]))
}

fn is_headers(frame: &[u8]) -> bool {
    frame[3] == HEADERS && frame_len(frame) <= FRAME_HEADER + LARGEST
}

/// Looks through one block of headers for an `:authority` written out. Whatever is malformed is left for `h2` to refuse.
fn mend_headers(flags: u8, payload: &mut [u8]) -> Option<()> {
    let mut at = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    loop {
        let first = *payload.get(at)?;
        let (name_bits, is_literal) = match first {
            0x80.. => (7, false),     // from the tables, name and value
            0x40.. => (6, true),      // written out, to be remembered
            0x20..0x40 => (5, false), // a new size for the table
            0x00..0x20 => (4, true),  // written out, not to be remembered
        };
        let name = number(payload, &mut at, name_bits)?;
        if !is_literal {
            continue;
        }
        if name == 0 {
            let length = number(payload, &mut at, 7)?;
            at = at.checked_add(length)?;
        }
        let is_coded = payload.get(at)? & 0x80 != 0;
        let length = number(payload, &mut at, 7)?;
        let end = at.checked_add(length)?;
        let value = payload.get_mut(at..end)?;
        if name == AUTHORITY {
            if is_coded { mend_coded(value) } else { mend_plain(value) }
        }
        at = end;
    }
}

/// HPACK's integer with a prefix of so many bits (RFC 7541, 5.1).
fn number(payload: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(*payload.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *payload.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None // larger than any frame
}

fn mend_plain(value: &mut [u8]) {
    for (url, mended) in PLAIN {
        if value.starts_with(url) {
            value[..url.len()].copy_from_slice(mended);
        }
    }
}

fn mend_coded(value: &mut [u8]) {
    let mut first = [0; 8];
    let n = value.len().min(8);
    first[..n].copy_from_slice(&value[..n]);
    let bits = u64::from_be_bytes(first);
    for (url, mended, length) in CODED {
        let below = u64::MAX >> length;
        if bits >> (64 - length) == url && n * 8 >= length as usize {
            let bits = mended << (64 - length) | bits & below;
            value[..n].copy_from_slice(&bits.to_be_bytes()[..n]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// What etcdctl 3.4 sends, with its `:authority` in Huffman's code (as Go codes it) or plain.
    fn opening(authority: &[u8], is_coded: bool) -> Vec<u8> {
        let mut block = vec![0x83, 0x86, 0x04, 5];
        block.extend(b"/s/m1");
        block.extend([0x41, authority.len() as u8 | if is_coded { 0x80 } else { 0 }]);
        block.extend(authority);
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        out.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        out.extend([0, 0, block.len() as u8, HEADERS, 0x5, 0, 0, 0, 1]);
        out.extend(block);
        out
    }

    /// `http://127.9.9.9:2379` in Huffman's code.
    fn coded() -> Vec<u8> {
        let codes: [(u8, &str); 12] = [
            (b'h', "100111"),
            (b't', "01001"),
            (b'p', "101011"),
            (b':', "1011100"),
            (b'/', "011000"),
            (b'.', "010111"),
            (b'1', "00001"),
            (b'2', "00010"),
            (b'3', "011001"),
            (b'7', "011101"),
            (b'9', "011111"),
            (b's', "01000"),
        ];
        let code = |c: u8| codes.iter().find(|(of, _)| *of == c).expect("in the list").1;
        let mut bits: String = b"http://127.9.9.9:2379".iter().map(|c| code(*c)).collect();
        bits.extend(std::iter::repeat_n('1', (8 - bits.len() % 8) % 8));
        let byte = |b: &[u8]| u8::from_str_radix(std::str::from_utf8(b).expect("digits"), 2).expect("bits");
        bits.as_bytes().chunks(8).map(byte).collect()
    }

    /// The authority that a server behind `Lenient` sees when these bytes come in pieces of this size.
    async fn seen(bytes: Vec<u8>, piece: usize) -> Option<String> {
        let (client, server) = tokio::io::duplex(piece);
        let client = tokio::spawn(async move {
            let (mut answers, mut requests) = tokio::io::split(client);
            let mut nowhere = tokio::io::sink();
            let listen = tokio::io::copy(&mut answers, &mut nowhere);
            tokio::join!(listen, requests.write_all(&bytes)) // until the server has gone
        });
        let serve = async {
            let mut connection = h2::server::handshake(Lenient::new(server)).await.ok()?;
            let (request, _) = connection.accept().await?.ok()?;
            Some(request.uri().authority()?.to_string())
        };
        let seen = tokio::time::timeout(std::time::Duration::from_millis(500), serve).await.ok().flatten();
        client.abort();
        seen
    }

    #[tokio::test]
    async fn a_url_is_let_in_however_its_bytes_arrive() {
        for piece in [1, 2, 7, 9, 40, 4096] {
            for (authority, is_coded) in [(coded(), true), (b"http://127.9.9.9:2379".to_vec(), false)] {
                let found = seen(opening(&authority, is_coded), piece).await;
                assert_eq!(found.as_deref(), Some("httpw..127.9.9.9:2379"), "pieces of {piece}, coded {is_coded}");
            }
        }
        let found = seen(opening(b"https://h:1", false), 4096).await;
        assert_eq!(found.as_deref(), Some("httpsw..h:1"));
    }

    #[tokio::test]
    async fn what_is_right_is_left_alone() {
        assert_eq!(seen(opening(b"127.9.9.9:2379", false), 3).await.as_deref(), Some("127.9.9.9:2379"));
        assert_eq!(seen(opening(b"httpd:80", false), 3).await.as_deref(), Some("httpd:80"));
    }

    #[test]
    fn malformed_headers_pass_untouched() {
        for block in [&b"\x41"[..], b"\x41\xff", b"\x41\xff\xff\xff\xff\xff", b"\x00\x7f", b"\x3f", b"", b"\x41\x05ab"]
        {
            let mut mended = block.to_vec();
            mend_headers(0, &mut mended);
            assert_eq!(mended, block);
            mend_headers(PADDED | PRIORITY, &mut mended);
        }
    }
}
