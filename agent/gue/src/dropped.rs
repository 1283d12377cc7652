//! Why packets are dropped: [`Dropped`], and how many were ([`Counts`]).

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// The payload ends before its header does.
    Short,
    /// A version of GUE other than 0.
    Version,
    /// A header of another length than data and pings have.
    HeaderLength,
    /// Other optional fields than a group and a key of 128 bits.
    Flags,
    /// A control message that is no ping.
    ControlType,
    /// An inner protocol other than IPv4.
    Protocol,
    /// A ping of the form that was used until December 2020.
    OldPing,
    /// A packet of the form that has a tunnel in place of a key.
    Keyless,
    /// No load balancer has the key.
    Key,
    /// The ids are neither the load balancer's nor those of its tunnel.
    Ids,
    /// The load balancer doesn't have the ping's tunnel.
    Tunnel,
    /// The inner packet is not an IPv4 packet, or ends before its header does.
    Inner,
    /// The inner packet is a fragment.
    Fragment,
    /// The inner packet is neither TCP nor UDP.
    Transport,
    /// The inner packet is not from an endpoint of the load balancer.
    Source,
    /// The packet isn't from where the tunnel's last ping was from.
    Peer,
    /// Nothing is known of where the packet should go.
    Destination,
    /// The tunnel's other end is not known yet.
    NoPeer,
    /// The packet is too big for the tunnel. Its sender is told.
    TooBig,
}

/// How many packets were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Dropped::ALL.len()]);

// === impl Dropped ===

impl Dropped {
    /// All reasons.
    pub const ALL: [Self; 19] = [
        Self::Short,
        Self::Version,
        Self::HeaderLength,
        Self::Flags,
        Self::ControlType,
        Self::Protocol,
        Self::OldPing,
        Self::Keyless,
        Self::Key,
        Self::Ids,
        Self::Tunnel,
        Self::Inner,
        Self::Fragment,
        Self::Transport,
        Self::Source,
        Self::Peer,
        Self::Destination,
        Self::NoPeer,
        Self::TooBig,
    ];

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Version => "version",
            Self::HeaderLength => "header-length",
            Self::Flags => "flags",
            Self::ControlType => "control-type",
            Self::Protocol => "protocol",
            Self::OldPing => "old-ping",
            Self::Keyless => "keyless",
            Self::Key => "key",
            Self::Ids => "ids",
            Self::Tunnel => "tunnel",
            Self::Inner => "inner",
            Self::Fragment => "fragment",
            Self::Transport => "transport",
            Self::Source => "source",
            Self::Peer => "peer",
            Self::Destination => "destination",
            Self::NoPeer => "no-peer",
            Self::TooBig => "too-big",
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Counts a packet.
    pub fn add(&mut self, dropped: Dropped) {
        self.0[dropped as usize] += 1;
    }

    /// Returns how many packets were dropped for a reason.
    pub fn of(&self, dropped: Dropped) -> u64 {
        self.0[dropped as usize]
    }
}
