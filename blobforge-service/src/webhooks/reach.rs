//! Where requests may go: to the world, and not to what only this machine and its neighbours can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use blobforge_core::Invalid;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::hook::MAX_URL_BYTES;

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(begin: [u16; 2], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(begin[0], begin[1], 0, 0, 0, 0, 0, 0), bits)
}

/// What IANA's registry of special addresses keeps out of the public network.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),       // this network
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // shared by customers of a provider
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local, and what clouds tell their machines
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocols
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 88, 99, 0, 24),  // relays to v6
    v4(192, 168, 0, 0, 16),  // private
    v4(198, 18, 0, 0, 15),   // benchmarks
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 4),     // multicast
    v4(240, 0, 0, 0, 4),     // reserved, and broadcast
];
/// All that is given out to the public of v6; loopback, link-local, unique-local, multicast and embedded v4 lie outside.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0], 3);
/// What of it is special all the same: protocols and tunnels, documentation, 6to4, documentation.
const SPECIAL_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0], 23), v6([0x2001, 0x0db8], 32), v6([0x2002, 0], 16), v6([0x3fff, 0], 20)];

/// Which addresses may be called: public ones, and those of the networks that the settings allow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    allowed: Vec<IpNet>,
}

impl Reach {
    pub(crate) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether this address may be called.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        // A v4 address in the clothes of v6 is judged as what it is.
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|allowed| allowed.contains(&address))
    }

    /// Reads a URL that may be called, as far as it says itself where it leads: where a name leads is found out when it
    /// is called.
    pub(crate) fn url(&self, field: &'static str, text: &str) -> Result<Url, Invalid> {
        if text.len() > MAX_URL_BYTES {
            return Err(Invalid::new(field, format!("use a URL of at most {MAX_URL_BYTES} bytes")));
        }
        let url =
            Url::parse(text).map_err(|error| Invalid::new(field, format!("this is no URL: {error}")))?;
        self.check(&url).map_err(|reason| Invalid::new(field, reason))?;
        Ok(url)
    }

    /// Says what is wrong with a URL, if anything is.
    pub(super) fn check(&self, url: &Url) -> Result<(), &'static str> {
        if !matches!(url.scheme(), "https" | "http") {
            return Err("use a URL that begins with https:// or http://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("leave name and password out of the URL: check the signature instead");
        }
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if address.is_ok_and(|address| !self.admits(address)) {
            return Err(
                "this address is private to the service's machine or network: use a public one, or have its network allowed with BLOBFORGE_WEBHOOK_ALLOW_PRIVATE",
            );
        }
        Ok(())
    }
}

/// Whether an address belongs to the public network.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|special| special.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !SPECIAL_V6.iter().any(|special| special.contains(&address))
        }
    }
}

/// Names are resolved once for each connection, which then goes to the very address that was judged.
impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let admitted: Vec<_> = found.into_iter().filter(|address| reach.admits(address.ip())).collect();
            if admitted.is_empty() {
                return Err("the name leads to no address that may be called".into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// What of a URL anybody may see: the rest can be a secret.
pub(crate) fn origin(url: &str) -> String {
    Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_called() {
        let reach = Reach::default();
        for public in ["1.1.1.1", "93.184.215.14", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(reach.admits(public.parse().unwrap()), "{public}");
        }
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fec0::1",
        ];
        for special in special {
            assert!(!reach.admits(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn what_the_settings_allow_is_called_and_nothing_beside_it() {
        let reach = Reach::new(vec!["127.0.0.1/32".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for allowed in ["127.0.0.1", "::ffff:127.0.0.1", "fd12::1"] {
            assert!(reach.admits(allowed.parse().unwrap()), "{allowed}");
        }
        for other in ["127.0.0.2", "::1", "fe80::1"] {
            assert!(!reach.admits(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_url_is_refused_for_what_it_says_itself() {
        let reach = Reach::default();
        for good in ["https://example.org/hook?a=b", "http://example.org:8080", "https://[2606:4700::1]/"] {
            assert!(reach.url("url", good).is_ok(), "{good}");
        }
        // However an address is written.
        let bad = [
            "",
            "example.org",
            "ftp://example.org",
            "file:///etc/passwd",
            "https://ann:secret@example.org",
            "http://127.0.0.1",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest",
            "http://127.1",
            "http://0/",
            "https://",
            "http://１２７.0.0.1/",
        ];
        for bad in bad {
            assert_eq!(reach.url("url", bad).unwrap_err().field, "url", "{bad}");
        }
        assert!(reach.url("url", &format!("https://example.org/{}", "x".repeat(MAX_URL_BYTES))).is_err());
    }
}
