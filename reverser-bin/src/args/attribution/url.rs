//! Where the API server reaches us, and where we listen for it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use http::Uri;

/// `https://HOST:PORT`, as an API server takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionUrl {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where to listen; `None`: at each address, or at this machine's own, as the URL has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    address: Option<IpAddr>,
    port: u16,
}

const EXAMPLE: &str = "write it like https://reverser.example.com:9443";

impl FromStr for AdmissionUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: Uri = text.parse().map_err(|error| format!("{error}; {EXAMPLE}"))?;
        if url.scheme_str() != Some("https") {
            return Err(format!("API servers call webhooks by https:// alone; {EXAMPLE}"));
        }
        let Some(authority) = url.authority().filter(|authority| !authority.host().is_empty()) else {
            return Err(format!("it names no host; {EXAMPLE}"));
        };
        if authority.as_str().contains('@') {
            return Err(format!("API servers take no user name in it; {EXAMPLE}"));
        }
        // An empty path is "/".
        if url.path() != "/" || url.query().is_some() || text.contains('#') {
            return Err(format!("the path is chosen here; {EXAMPLE}"));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host).unwrap_or_default() {
            "" => 443,
            // What is no port counts as none to the parser.
            port => authority.port_u16().ok_or_else(|| format!("{port:?} is no port; {EXAMPLE}"))?,
        };
        if port == 0 {
            return Err(format!("the API server needs a port that stays the same; {EXAMPLE}"));
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self { host: host.to_owned(), port })
    }
}

impl AdmissionUrl {
    /// Returns where to listen, by default or as the flag says.
    pub(crate) fn listen(&self, flag: Option<Listen>) -> SocketAddr {
        let address: Option<IpAddr> = self.host.parse().ok();
        let everywhere = match address {
            Some(address) if address.is_loopback() => address,
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ if self.host == "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let flag = flag.unwrap_or(Listen { address: None, port: self.port });
        (flag.address.unwrap_or(everywhere), flag.port).into()
    }
}

/// As it is put into a registration, with a path behind it.
impl fmt::Display for AdmissionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "https://[{host}]:{port}") } else { write!(f, "https://{host}:{port}") }
    }
}

/// Reads `9443`, `:9443`, `10.0.0.5:9443`, `[::]:9443` and `localhost:9443`.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let port_alone = text.strip_prefix(':').unwrap_or(text).parse().map(|port| Listen { address: None, port });
    let with_address = || {
        let address: SocketAddr = match text.strip_prefix("localhost:") {
            Some(port) => (Ipv4Addr::LOCALHOST, port.parse().ok()?).into(),
            None => text.parse().ok()?,
        };
        Some(Listen { address: Some(address.ip()), port: address.port() })
    };
    port_alone.ok().or_else(with_address).ok_or_else(|| {
        "write a port, 9443, or an address of this machine and a port, 10.0.0.5:9443 or [::]:9443".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_webhook_is_read_with_its_default_port() {
        for (text, host, port, shown) in [
            ("https://reverser.example.com:9443", "reverser.example.com", 9443, "https://reverser.example.com:9443"),
            ("https://10.0.0.5", "10.0.0.5", 443, "https://10.0.0.5:443"),
            ("https://[2001:db8::1]:9443/", "2001:db8::1", 9443, "https://[2001:db8::1]:9443"),
        ] {
            let url: AdmissionUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.to_string().as_str()), (host, port, shown));
        }
    }

    #[test]
    fn an_address_that_no_api_server_takes_is_refused_with_an_example() {
        for (text, why) in [
            ("http://reverser.example.com:9443", "by https:// alone"),
            ("reverser.example.com:9443", "by https:// alone"),
            ("reverser.example.com", "by https:// alone"),
            ("https://user@reverser.example.com", "no user name"),
            ("https://reverser.example.com:9443/hook", "the path is chosen here"),
            ("https://reverser.example.com:9443/?a=b", "the path is chosen here"),
            ("https://reverser.example.com:9443#a", ""),
            ("https://reverser.example.com:99999", "is no port"),
            ("https://reverser.example.com:", "is no port"),
            ("https://reverser.example.com:0", "stays the same"),
            ("https://", ""),
            ("", ""),
        ] {
            let error = text.parse::<AdmissionUrl>().unwrap_err();
            assert!(error.contains(why) && error.contains(EXAMPLE), "{text}: {error}");
        }
    }

    #[test]
    fn it_is_listened_where_the_address_leads_to() {
        for (url, flag, expected) in [
            ("https://reverser.example.com:9443", None, "0.0.0.0:9443"),
            ("https://10.0.0.5:9443", None, "0.0.0.0:9443"),
            ("https://[2001:db8::1]:9443", None, "[::]:9443"),
            ("https://127.0.0.1:9443", None, "127.0.0.1:9443"),
            ("https://localhost:9443", None, "127.0.0.1:9443"),
            ("https://[::1]:9443", None, "[::1]:9443"),
            ("https://reverser.example.com", Some("9443"), "0.0.0.0:9443"),
            ("https://127.0.0.1", Some(":9443"), "127.0.0.1:9443"),
            ("https://reverser.example.com", Some("10.0.0.5:9443"), "10.0.0.5:9443"),
            ("https://reverser.example.com", Some("localhost:9443"), "127.0.0.1:9443"),
            ("https://reverser.example.com", Some("[::]:9443"), "[::]:9443"),
        ] {
            let flag = flag.map(|flag| listen(flag).unwrap());
            assert_eq!(url.parse::<AdmissionUrl>().unwrap().listen(flag).to_string(), expected, "{url} {flag:?}");
        }
        for text in ["", ":", "99999", "example.com:9443", "1.2.3.4"] {
            assert!(listen(text).is_err_and(|error| error.contains("10.0.0.5:9443")), "{text}");
        }
    }
}
