//! Addresses that lead to this machine or to a private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::Url;

/// How names of hosts end that only a private network knows.
const PRIVATE_ENDINGS: [&str; 5] = [".local", ".lan", ".internal", ".home.arpa", ".localhost"];
/// Which addresses are private. Others that are special may still be reached by, or lead to, anybody: what the webhooks must not
/// call is another list, and an error there lies on the other side.
const PRIVATE: [IpNet; 9] = [
    v4(127, 0, 0, 0, 8),                                // loopback
    v4(10, 0, 0, 0, 8),                                 // private
    v4(172, 16, 0, 0, 12),                              // private
    v4(192, 168, 0, 0, 16),                             // private
    v4(169, 254, 0, 0, 16),                             // link-local
    v4(100, 64, 0, 0, 10),                              // shared by customers of a provider
    v6(Ipv6Addr::LOCALHOST, 128),                       // loopback
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),  // private
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // link-local
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// Whether an address leads to this machine or to a private network, as far as it says so itself: by an address of
/// one, or by a name that the public network does not give out.
pub(crate) fn is_private(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return is_private_address(address);
    }
    !host.is_empty() && (!host.contains('.') || PRIVATE_ENDINGS.iter().any(|ending| host.ends_with(ending)))
}

fn is_private_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    PRIVATE.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_is_what_says_so_itself() {
        for private in [
            "http://localhost:9000",
            "https://auth",
            "https://auth.Local",
            "https://a.internal.",
            "https://a.home.arpa/x",
            "http://127.0.0.1",
            "http://[::1]:9000",
            "http://[fd00::1]",
            "https://192.168.1.2",
            "https://100.64.0.1",
            "https://169.254.1.1",
            "https://[fe80::1]",
            "https://[::ffff:10.0.0.1]",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in [
            "https://accounts.google.com",
            "https://auth.example.org",
            "https://8.8.8.8",
            "https://[2606:4700::1]",
            "https://[64:ff9b::a00:1]",
            "https://[2002:a00:1::1]",
            "https://[2001:db8::1]",
            "https://203.0.113.1",
            "https://198.18.0.1",
            "https://224.0.0.1",
            "https://0.0.0.0",
            "https://[::ffff:8.8.8.8]",
            "https://local",
            "https://notlocal.org",
            "https://evil.local.example.org",
            "no address",
        ] {
            assert_eq!(is_private(public), public == "https://local", "{public}");
        }
    }
}
