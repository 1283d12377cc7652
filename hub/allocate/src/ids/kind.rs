//! The kinds of ids and their bounds: [`IdKind`], and a type for each.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// What an id numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdKind {
    /// An account, counted in the EPIC object (row C3).
    Group,
    /// A load balancer of an account, counted in the Account (row C4, seed C.6).
    Service,
    /// A tunnel of a load balancer and a client node, counted in the EPIC object (row C5).
    Tunnel,
}

/// A typed id: [`GroupId`], [`ServiceId`] or [`TunnelId`].
pub trait Id: Copy + Ord + fmt::Debug + fmt::Display {
    /// What it numbers.
    const KIND: IdKind;

    /// Converts a number. Returns `None` for 0, which means "not set", and for numbers above [`IdKind::last`].
    fn from_number(number: u32) -> Option<Self>;

    /// Returns the number, from 1 to [`IdKind::last`].
    fn number(self) -> u32;
}

/// An account's id, 16 bits on the wire (seed C.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(NonZeroU16);

/// A load balancer's id, 16 bits on the wire (seed C.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(NonZeroU16);

/// A tunnel's id, 32 bits on the wire (seed C.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(NonZeroU32);

// === impl IdKind ===

impl IdKind {
    /// Returns the last id: 65,535 for 16-bit ids; 2,147,483,647 for tunnels, because the original's pinger parses int32
    /// (seed C.7).
    pub const fn last(self) -> u32 {
        match self {
            Self::Group | Self::Service => u16::MAX as u32,
            Self::Tunnel => i32::MAX as u32,
        }
    }

    /// Returns the last id that the original's pinger reads, which parses int16 (seed C.7). `None` if it reads all.
    pub const fn last_readable(self) -> Option<u32> {
        match self {
            Self::Group | Self::Service => Some(i16::MAX as u32),
            Self::Tunnel => None,
        }
    }

    /// Returns the field of the counter, in the API server's notation (seed C.2).
    pub const fn field(self) -> &'static str {
        match self {
            Self::Group => "status.current-group-id",
            Self::Service => "status.current-service-id",
            Self::Tunnel => "status.current-tunnel-id",
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group id",
            Self::Service => "service id",
            Self::Tunnel => "tunnel id",
        })
    }
}

// === impl GroupId ===

impl GroupId {
    /// Returns the id as the wire and the objects have it.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl Id for GroupId {
    const KIND: IdKind = IdKind::Group;

    fn from_number(number: u32) -> Option<Self> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self)
    }

    fn number(self) -> u32 {
        self.0.get().into()
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl ServiceId ===

impl ServiceId {
    /// Returns the id as the wire and the objects have it.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl Id for ServiceId {
    const KIND: IdKind = IdKind::Service;

    fn from_number(number: u32) -> Option<Self> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self)
    }

    fn number(self) -> u32 {
        self.0.get().into()
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl TunnelId ===

impl TunnelId {
    /// Returns the id as the wire and the objects have it.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Id for TunnelId {
    const KIND: IdKind = IdKind::Tunnel;

    fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).filter(|number| number.get() <= Self::KIND.last()).map(Self)
    }

    fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
