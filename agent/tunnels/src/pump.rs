//! The two directions of the data path: [`outward`] and [`inward`].

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use portreeve_gue::dropped::Dropped;
use portreeve_gue::gateway::Way;
use portreeve_gue::too_big::answer;
use portreeve_gue::wire::HEADER;
use quinn_udp::{BATCH_SIZE, RecvMeta};
use tun_rs::{AsyncDevice, GROTable, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

use crate::batch::Batch;
use crate::end::{Counted, End, Shared};
use crate::socket::Socket;

/// The longest packet that the kernel hands over, to be divided.
const LARGEST: usize = 65_535;

/// The longest packet after that: no interface of the tunnels has a larger MTU.
const SEGMENT: usize = 2048;

/// The most packets that the kernel makes of one, with the smallest segments that programs use.
const DIVIDED: usize = IDEAL_BATCH_SIZE;

/// The most packets that are taken from the device before they are sent.
const TAKEN: usize = 2 * DIVIDED;

/// Packets for the device.
struct Inward {
    packets: Vec<Vec<u8>>,
    number: usize,
    table: GROTable,
}

/// Passes packets from the device to the other ends of the tunnels, until an error of the device.
///
/// # Errors
/// Returns the error of the device.
pub async fn outward<E: End>(
    device: &AsyncDevice,
    socket: &Socket,
    end: &Shared<E>,
) -> io::Result<Infallible> {
    let mut whole = vec![0; VIRTIO_NET_HDR_LEN + LARGEST];
    let mut packets = vec![vec![0; HEADER + SEGMENT]; TAKEN];
    let mut sizes = vec![0; TAKEN];
    let mut targets: Vec<Option<Way>> = Vec::with_capacity(TAKEN);
    let (mut batch, mut answers) = (Batch::new(socket.most_segments()), Inward::new());
    loop {
        let mut taken = device.recv_multiple(&mut whole, &mut packets, &mut sizes, HEADER).await?;
        // What else is there already goes with it.
        while taken <= TAKEN - DIVIDED {
            let (packets, sizes) = (&mut packets[taken..], &mut sizes[taken..]);
            match device.try_recv_multiple(&mut whole, packets, sizes, HEADER) {
                Ok(number) => taken += number,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        targets.clear();
        decide(end, packets.iter_mut().zip(&sizes).take(taken), &mut targets, &mut answers);
        for ((packet, size), way) in packets.iter().zip(&sizes).zip(&targets) {
            let Some(way) = *way else { continue };
            let datagram = &packet[..HEADER + size];
            if !batch.takes(way, datagram.len()) {
                flush(socket, &mut batch).await;
            }
            batch.push(way, datagram);
        }
        flush(socket, &mut batch).await;
        answers.flush(device).await?;
    }
}

/// Puts the header before each packet that is sent, and says where it goes.
fn decide<'a, E: End>(
    end: &Shared<E>,
    packets: impl Iterator<Item = (&'a mut Vec<u8>, &'a usize)>,
    targets: &mut Vec<Option<Way>>,
    answers: &mut Inward,
) {
    let Counted { end, passed, dropped: counts } = &mut *end.lock();
    for (packet, size) in packets {
        let (header, inner) = packet[..HEADER + size].split_at_mut(HEADER);
        targets.push(match end.send(inner) {
            Ok(outer) => {
                header.copy_from_slice(&outer.header);
                passed.outward.add(*size);
                Some(outer.way)
            }
            Err(dropped) => {
                counts.add(dropped);
                if let Some(answer) = answer(inner).filter(|_| dropped == Dropped::TooBig) {
                    answers.push(&answer);
                }
                None
            }
        });
    }
}

async fn flush(socket: &Socket, batch: &mut Batch) {
    if let Some((way, datagrams, length)) = batch.get() {
        socket.send_all(way, datagrams, length).await;
    }
    batch.clear();
}

/// Passes packets from the other ends of the tunnels to the device, until an error of the socket or the device.
///
/// # Errors
/// Returns that error.
pub async fn inward<E: End>(
    socket: &Socket,
    device: &AsyncDevice,
    end: &Shared<E>,
) -> io::Result<Infallible> {
    let mut buffers = vec![vec![0; LARGEST]; BATCH_SIZE];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let mut packets = Inward::new();
    loop {
        let filled = socket.receive(&mut buffers, &mut metas).await?;
        for (buffer, meta) in buffers.iter().zip(&metas).take(filled) {
            let SocketAddr::V4(from) = meta.addr else { continue };
            take(end, from, buffer[..meta.len].chunks(meta.stride.max(1)), &mut packets);
            packets.flush(device).await?;
        }
    }
}

/// Takes the packets out of datagrams.
fn take<'a, E: End>(
    end: &Shared<E>,
    from: SocketAddrV4,
    datagrams: impl Iterator<Item = &'a [u8]>,
    packets: &mut Inward,
) {
    let Counted { end, passed, dropped: counts } = &mut *end.lock();
    for datagram in datagrams {
        match end.receive(from, datagram) {
            Ok(Some(packet)) => {
                passed.inward.add(packet.len());
                packets.push(packet);
            }
            Ok(None) => {}
            Err(dropped) => counts.add(dropped),
        }
    }
}

// === impl Inward ===

impl Inward {
    fn new() -> Self {
        Self { packets: Vec::new(), number: 0, table: GROTable::default() }
    }

    fn push(&mut self, packet: &[u8]) {
        if self.number == self.packets.len() {
            self.packets.push(Vec::with_capacity(VIRTIO_NET_HDR_LEN + SEGMENT));
        }
        let room = &mut self.packets[self.number];
        room.clear();
        room.resize(VIRTIO_NET_HDR_LEN, 0);
        room.extend_from_slice(packet);
        self.number += 1;
    }

    /// Hands the packets to the device. A packet that the kernel refuses is lost, alone.
    async fn flush(&mut self, device: &AsyncDevice) -> io::Result<()> {
        let number = std::mem::take(&mut self.number);
        if number == 0 {
            return Ok(());
        }
        let sent = device.send_multiple(&mut self.table, &mut self.packets[..number], VIRTIO_NET_HDR_LEN);
        match sent.await {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            sent => sent.map(drop),
        }
    }
}
