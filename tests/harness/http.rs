//! One HTTP/1.1 GET over a plain socket: enough for `/metrics`, `/health` and `/version`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The status code and the body.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|e| format!("GET {address}{path}: {e}"))?;
    parse(&answer).ok_or_else(|| format!("GET {address}{path}: {}", String::from_utf8_lossy(&answer)))
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split_whitespace().nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((code, if chunked { unchunk(body)? } else { body.to_string() }))
}

fn unchunk(mut body: &str) -> Option<String> {
    let mut out = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        out.push_str(rest.get(..size)?);
        body = rest.get(size + 2..)?;
    }
}

/// The sum over all labels of one counter or gauge on `/metrics`; `None` if it is not there.
pub fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let (code, body) = get(address, "/metrics").ok()?;
    assert_eq!(code, 200, "/metrics");
    let mut sum = None;
    for line in body.lines().filter(|l| l.starts_with(name)) {
        let rest = &line[name.len()..];
        if rest.starts_with(['{', ' ']) {
            let value: f64 = line.rsplit(' ').next()?.parse().ok()?;
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_answers_are_read() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nok\n"), Some((200, "ok\n".into())));
        let chunked = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((503, "abcde".into())));
        assert_eq!(parse(b"nonsense"), None);
    }
}
