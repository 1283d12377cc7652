//! Datagrams that are sent together: [`Batch`].

use portreeve_gue::gateway::Way;
use portreeve_gue::wire::HEADER;

use crate::offload::LARGEST;

/// The most bytes of one call: what an IPv4 packet can have after its headers.
const MOST_BYTES: usize = 65_507;

/// After this many bytes, it is time to send: one call takes no more.
const ENOUGH: usize = MOST_BYTES - 2048;

/// Datagrams in the order in which they are sent.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    filled: usize,
    runs: Vec<Run>,
    most: usize,
}

/// Datagrams to one destination. All but the last have the same length.
#[derive(Debug)]
struct Run {
    way: Way,
    /// The length of each, and their number.
    length: usize,
    number: usize,
    begin: usize,
    end: usize,
}

// === impl Batch ===

impl Batch {
    /// Creates an empty batch of which this many datagrams are sent in one call.
    pub fn new(most: usize) -> Self {
        Self { bytes: vec![0; ENOUGH + HEADER + LARGEST], filled: 0, runs: Vec::new(), most }
    }

    /// Returns whether it is time to send.
    pub fn is_full(&self) -> bool {
        self.filled >= ENOUGH
    }

    /// Returns room for a datagram, if it isn't full.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Adds the datagram that was written into the room.
    pub fn push(&mut self, way: Way, length: usize) {
        let end = self.filled + length;
        match self.runs.last_mut().filter(|run| run.takes(way, length, self.most)) {
            Some(run) => (run.number, run.end) = (run.number + 1, end),
            None => self.runs.push(Run { way, length, number: 1, begin: self.filled, end }),
        }
        self.filled = end;
    }

    /// Returns what is sent in one call each: where it goes, the datagrams, and their length.
    pub fn runs(&self) -> impl Iterator<Item = (Way, &[u8], usize)> {
        self.runs.iter().map(|run| (run.way, &self.bytes[run.begin..run.end], run.length))
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.filled = 0;
    }
}

// === impl Run ===

impl Run {
    fn takes(&self, way: Way, length: usize, most: usize) -> bool {
        let bytes = self.end - self.begin;
        self.way == way
            && length <= self.length
            && bytes == self.length * self.number
            && self.number < most
            && bytes + length <= MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    const A: Way = Way { from: None, to: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6080) };
    const B: Way = Way { from: Some(Ipv4Addr::LOCALHOST), ..A };

    fn push(batch: &mut Batch, way: Way, length: usize, byte: u8) {
        batch.room()[..length].fill(byte);
        batch.push(way, length);
    }

    #[test]
    fn datagrams_of_one_length_and_destination_go_together_and_a_shorter_one_is_the_last() {
        let mut batch = Batch::new(4);
        assert_eq!(batch.runs().count(), 0);
        for (way, length, byte) in
            [(A, 100, 1), (A, 100, 2), (A, 50, 3), (A, 50, 4), (A, 51, 5), (B, 51, 6), (B, 51, 7)]
        {
            push(&mut batch, way, length, byte);
        }
        let first = [&[1; 100][..], &[2; 100], &[3; 50]].concat();
        let last = [[6; 51], [7; 51]].concat();
        let expected: [(Way, &[u8], usize); 4] =
            [(A, &first, 100), (A, &[4; 50], 50), (A, &[5; 51], 51), (B, &last, 51)];
        assert_eq!(batch.runs().collect::<Vec<_>>(), expected);
        batch.clear();
        assert_eq!(batch.runs().count(), 0);
    }

    #[test]
    fn one_call_and_the_batch_have_an_end() {
        let mut batch = Batch::new(4);
        (0..5).for_each(|_| push(&mut batch, A, 10, 0));
        assert_eq!(batch.runs().map(|run| run.1.len()).collect::<Vec<_>>(), [40, 10]);
        let mut batch = Batch::new(1000);
        while !batch.is_full() {
            push(&mut batch, A, 1000, 0);
        }
        push(&mut batch, A, 60_000, 0);
        let lengths: Vec<_> = batch.runs().map(|run| run.1.len()).collect();
        assert!(lengths.iter().all(|length| *length <= MOST_BYTES) && lengths.len() == 2, "{lengths:?}");
    }
}
