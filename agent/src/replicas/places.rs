//! The configured places of the replicas ([`Places`]): addresses, and names that are resolved repeatedly, for example a
//! headless Service's.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use tokio::net::lookup_host;

use super::{Replica, Replicas};

/// Interval between two look-ups of a name, also after a failure.
const EVERY: Duration = Duration::from_secs(3);
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Timeout of a look-up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Port of a hub whose address has none.
const PORT: u16 = 18100;

/// Where to find the replicas.
#[derive(Clone, Debug)]
pub enum Places {
    /// One hub on the same machine.
    Unix(PathBuf),
    /// `http://` or `https://` URIs, each with an address, or with a name that may have several addresses.
    Uris(Vec<Uri>),
}

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    secure: bool,
    host: String,
    port: u16,
}

// === impl Places ===

impl Places {
    /// Updates `replicas` and never returns.
    ///
    /// # Errors
    /// Never returns an error.
    pub async fn follow(self, replicas: Replicas) -> anyhow::Result<()> {
        let uris = match self {
            Self::Unix(path) => {
                replicas.set(BTreeSet::from([Replica::Unix(path)]));
                return never().await;
            }
            Self::Uris(uris) => uris,
        };
        let places: BTreeSet<Place> = uris.iter().map(Place::of).collect();
        let mut found: BTreeMap<Place, BTreeSet<Replica>> = BTreeMap::new();
        loop {
            let mut failed = false;
            for place in &places {
                match place.look_up().await {
                    Ok(there) => drop(found.insert(place.clone(), there)),
                    // The known addresses stay, because only the resolver is unreachable.
                    Err(error) => {
                        failed = true;
                        tracing::warn!(name = place.host, %error, "can't resolve the name of the hub");
                    }
                }
            }
            replicas.set(found.values().flatten().cloned().collect());
            if places.iter().all(|place| place.address().is_some()) {
                return never().await;
            }
            tokio::time::sleep(if failed && found.is_empty() { AFTER_FAILURE } else { EVERY }).await;
        }
    }
}

async fn never() -> anyhow::Result<()> {
    match std::future::pending::<Infallible>().await {}
}

// === impl Place ===

impl Place {
    fn of(uri: &Uri) -> Self {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Self { secure, host, port: uri.port_u16().unwrap_or(PORT) }
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    fn at(&self, address: SocketAddr) -> Replica {
        Replica::Tcp { secure: self.secure, address }
    }

    /// Returns the replicas of this place. A name without an address is an error too: a hub that is being replaced may
    /// have none for a moment, while earlier replicas still exist.
    async fn look_up(&self) -> std::io::Result<BTreeSet<Replica>> {
        if let Some(ip) = self.address() {
            return Ok(BTreeSet::from([self.at((ip, self.port).into())]));
        }
        let addresses =
            tokio::time::timeout(PATIENCE, lookup_host((self.host.as_str(), self.port))).await??;
        let found: BTreeSet<Replica> = addresses.map(|address| self.at(address)).collect();
        match found.is_empty() {
            true => Err(std::io::Error::other("it has no address")),
            false => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::of(&text.parse().unwrap())
    }

    #[tokio::test]
    async fn address_is_its_own_replica() {
        for (text, replica) in [
            ("http://10.0.0.1:18200", "http://10.0.0.1:18200"),
            ("https://10.0.0.1", "https://10.0.0.1:18100"),
            ("https://[fd00::1]:7", "https://[fd00::1]:7"),
        ] {
            let found = place(text).look_up().await.unwrap();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [replica]);
        }
    }

    #[tokio::test]
    async fn name_stands_for_all_its_addresses() {
        let found = place("http://localhost:7").look_up().await.unwrap();
        assert!(found.contains(&place("http://127.0.0.1:7").look_up().await.unwrap().pop_first().unwrap()));
        assert!(found.iter().all(|replica| replica.to_string().ends_with(":7")));
    }

    #[tokio::test]
    async fn name_that_nobody_knows_is_an_error() {
        assert!(place("http://no-such-name.invalid:7").look_up().await.is_err());
    }
}
