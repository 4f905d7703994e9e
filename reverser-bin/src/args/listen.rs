//! The flags that let others ask how it goes.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;

use super::heading::OUTPUT;

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ListenArgs {
    /// Answer /metrics, /healthz and /readyz there: 9090, 0.0.0.0:9090
    ///
    /// A port alone is for this machine only; anybody who can connect may read. /metrics is for Prometheus, /healthz
    /// says that the process lives, /readyz that the first sync is done and that commits haven't waited behind a
    /// failing push for a minute.
    #[arg(long, help_heading = OUTPUT, value_name = "[ADDRESS:]PORT", value_parser = address)]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

/// Reads `9090`, `:9090`, `0.0.0.0:9090`, `[::1]:9090` and `localhost:9090`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let here = |port: &str| port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let port_alone = text.strip_prefix("localhost").unwrap_or(text);
    let address = here(port_alone.strip_prefix(':').unwrap_or(text)).or_else(|| text.parse().ok());
    address.ok_or_else(|| {
        "write a port, 9090, for this machine alone, or an address and a port, 0.0.0.0:9090 or [::]:9090".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_for_this_machine_only() {
        for (text, expected) in [
            ("9090", "127.0.0.1:9090"),
            (":9090", "127.0.0.1:9090"),
            ("localhost:9090", "127.0.0.1:9090"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::]:9090", "[::]:9090"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", ":", "99999", "example.com:9090", "1.2.3.4", "localhost", "localhost9090x"] {
            assert!(address(text).is_err_and(|error| error.contains("0.0.0.0:9090")), "{text}");
        }
    }
}
