//! Datagrams that are sent in one call: [`Batch`].

use portreeve_gue::gateway::Way;

/// The most bytes of one call: what an IPv4 packet can have after its headers.
const MOST_BYTES: usize = 65_507;

/// Datagrams to one destination. All but the last have the same length.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    way: Option<Way>,
    /// The length of each, and their number.
    length: usize,
    number: usize,
    /// The last one is shorter, so that no other can follow.
    full: bool,
    most: usize,
}

// === impl Batch ===

impl Batch {
    /// Creates an empty batch that takes this many datagrams.
    pub fn new(most: usize) -> Self {
        let bytes = Vec::with_capacity(MOST_BYTES);
        Self { bytes, way: None, length: 0, number: 0, full: false, most }
    }

    /// Returns whether a datagram fits in.
    pub fn takes(&self, way: Way, length: usize) -> bool {
        let Some(own) = self.way else { return true };
        own == way
            && !self.full
            && length <= self.length
            && self.number < self.most
            && self.bytes.len() + length <= MOST_BYTES
    }

    /// Adds a datagram that fits in.
    pub fn push(&mut self, way: Way, datagram: &[u8]) {
        if self.way.is_none() {
            (self.way, self.length) = (Some(way), datagram.len());
        }
        self.full = datagram.len() < self.length;
        self.bytes.extend_from_slice(datagram);
        self.number += 1;
    }

    /// Returns where the datagrams go, their bytes and the length of each. `None` if there are none.
    pub fn get(&self) -> Option<(Way, &[u8], usize)> {
        Some((self.way?, &self.bytes, self.length))
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.way, self.length, self.number, self.full) = (None, 0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    const A: Way = Way { from: None, to: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6080) };
    const B: Way = Way { from: Some(Ipv4Addr::LOCALHOST), ..A };

    #[test]
    fn datagrams_of_one_length_and_destination_go_together_and_a_shorter_one_is_the_last() {
        let mut batch = Batch::new(4);
        assert_eq!(batch.get(), None);
        assert!(batch.takes(A, 60_000));
        batch.push(A, &[1; 100]);
        assert!(batch.takes(A, 100) && batch.takes(A, 99));
        assert!(!batch.takes(A, 101) && !batch.takes(B, 100));
        batch.push(A, &[2; 100]);
        batch.push(A, &[3; 50]);
        assert!(!batch.takes(A, 50), "after a shorter one");
        let expected = [&[1; 100][..], &[2; 100], &[3; 50]].concat();
        assert_eq!(batch.get(), Some((A, &expected[..], 100)));
        batch.clear();
        assert!(batch.get().is_none() && batch.takes(B, 1));
    }

    #[test]
    fn batch_has_an_end() {
        let mut batch = Batch::new(4);
        (0..4).for_each(|_| batch.push(A, &[0; 10]));
        assert!(!batch.takes(A, 10));
        let mut batch = Batch::new(1000);
        let number = (0..1000).take_while(|_| {
            let takes = batch.takes(A, 1000);
            batch.push(A, &[0; 1000]);
            takes
        });
        assert_eq!(number.count(), 65);
    }
}
