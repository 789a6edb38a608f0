//! Where a request comes from, behind proxies too.

use std::net::IpAddr;

use ipnet::IpNet;
use poem::{Addr, Request, http::HeaderMap};

/// The address of the client: that of the connection, or what trusted proxies say who stand in between.
pub(crate) fn client_address(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let Addr::SocketAddr(peer) = &**request.remote_addr() else { return None };
    Some(behind_proxies(peer.ip().to_canonical(), request.headers(), trusted))
}

/// Each proxy adds whom it was asked by at the end of the header. The last address that no trusted proxy has is the
/// client's: what stands before it, the client may have written itself.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer;
    if !is_trusted(&client) {
        return client;
    }
    let lines: Vec<_> =
        headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    for named in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = address(named) else { break };
        client = address;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    plain.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        behind_proxies(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client("192.0.2.1", &["1.1.1.1"], &proxies), "192.0.2.1", "it is no proxy of ours");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"], &[]), "10.0.0.1", "nobody is trusted");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"], &proxies), "1.1.1.1");
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], &proxies),
            "1.1.1.1",
            "not what it claims"
        );
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1:4711"], &proxies), "1.1.1.1");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:80"], &proxies), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3"], &proxies), "10.0.0.3", "a client within");
        assert_eq!(client("10.0.0.1", &["unknown"], &proxies), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[], &proxies), "10.0.0.1");
    }
}
