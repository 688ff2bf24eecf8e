//! Addresses in etcd's form, `http://host:port`, with etcd's complaints.

use std::fmt;

/// One address to listen on or to tell others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Url {
    /// `http`, `https`, `unix` or `unixs`.
    pub scheme: String,
    /// Host name or address, an IPv6 address without its brackets.
    pub host: String,
    /// Port; 0 lets the system choose, which only listeners may.
    pub port: u16,
}

impl Url {
    /// Read one address; the error names it and says what is wrong.
    pub fn parse(text: &str) -> Result<Url, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        if !["http", "https", "unix", "unixs"].contains(&scheme) {
            return Err(format!("URL scheme must be http, https, unix, or unixs: {text}"));
        }
        let (address, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if path.len() > 1 {
            return Err(format!("URL must not contain a path: {text}"));
        }
        let form = || format!("URL address does not have the form \"host:port\": {text}");
        let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => {
                inner.strip_suffix(']').filter(|h| h.parse::<std::net::Ipv6Addr>().is_ok()).ok_or_else(form)?
            }
            None => host,
        };
        let strange = |c: char| !(c.is_ascii_alphanumeric() || "-._%:".contains(c));
        if host.contains(strange) || (host.contains(':') && !address.starts_with('[')) {
            return Err(form());
        }
        let port = port.parse().map_err(|_| form())?;
        Ok(Url { scheme: scheme.to_string(), host: host.to_string(), port })
    }

    /// Does it name every address of this machine, so that nobody else can use it?
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }

    /// Does it stay on this machine?
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// `host:port` for a socket; `localhost` binds its IPv4 address, an empty host binds every address.
    pub fn authority(&self) -> String {
        match self.host.as_str() {
            "" => format!("0.0.0.0:{}", self.port),
            "localhost" => format!("127.0.0.1:{}", self.port),
            host if host.contains(':') => format!("[{host}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_round_trip() {
        for text in ["http://localhost:2379", "https://10.0.0.1:1", "http://[::1]:2379", "http://:2379"] {
            assert_eq!(Url::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Url::parse("http://a:1/").unwrap().to_string(), "http://a:1");
        assert_eq!(Url::parse("http://[::1]:7").unwrap().authority(), "[::1]:7");
        assert_eq!(Url::parse("http://localhost:7").unwrap().authority(), "127.0.0.1:7");
        assert!(Url::parse("http://:2379").unwrap().is_wildcard());
    }

    #[test]
    fn bad_addresses_get_etcds_words() {
        let error = |text| Url::parse(text).unwrap_err();
        assert!(error("localhost:2379").contains("URL scheme must be http, https, unix, or unixs"));
        assert!(error("ftp://a:1").contains("URL scheme"));
        for text in ["http://localhost", "http://a:b", "http://a:99999", "http://::1:5", "http://[x]:5", "http://a b:5"]
        {
            assert!(error(text).contains("does not have the form"), "{text}");
        }
        assert!(error("http://a:1/path").contains("must not contain a path"));
    }
}
