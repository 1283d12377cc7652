//! The two directions of the data path: [`outward`] and [`inward`].

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use portreeve_gue::dropped::Dropped;
use portreeve_gue::gateway::Outer;
use portreeve_gue::ipv4::Packet;
use portreeve_gue::too_big::answer;
use portreeve_gue::wire::HEADER;
use quinn_udp::RecvMeta;
use tun_rs::AsyncDevice;

use crate::batch::Batch;
use crate::divide::Handed;
use crate::end::{Counted, End, Shared};
use crate::merge::Merged;
use crate::offload::{LARGEST, VIRTIO};
use crate::socket::Socket;

/// The most buffers of datagrams that are received at once.
const RECEIVED: usize = 8;

/// Passes packets from the device to the other ends of the tunnels, until an error of the device.
///
/// # Errors
/// Returns the error of the device.
pub async fn outward<E: End>(
    device: &AsyncDevice,
    socket: &Socket,
    end: &Shared<E>,
) -> io::Result<Infallible> {
    let mut bytes = vec![0; VIRTIO + LARGEST];
    let (mut batch, mut answers) = (Batch::new(socket.most_segments()), Merged::of(device));
    loop {
        let mut length = device.recv(&mut bytes).await?;
        // What else is there already goes with it.
        while length > 0 {
            let mut handed = Handed::new(&bytes[..length], device.tcp_gso());
            while !fill(end, &mut handed, &mut batch, &mut answers) {
                flush(socket, &mut batch).await;
            }
            hand(device, &mut answers).await?;
            length = match device.try_recv(&mut bytes) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
        }
        flush(socket, &mut batch).await;
    }
}

/// Adds packets that the device handed over to the batch. Returns whether all are in it.
fn fill<E: End>(end: &Shared<E>, handed: &mut Handed<'_>, batch: &mut Batch, answers: &mut Merged) -> bool {
    let Counted { end, passed, dropped: counts } = &mut *end.lock();
    let mut known: Option<Outer> = None;
    while !handed.is_done() {
        if batch.is_full() {
            return false;
        }
        let (header, room) = batch.room().split_at_mut(HEADER);
        let size = handed.next(room);
        let inner = &room[..size];
        // All of one flow go the same way, and the first is the longest one.
        match known.map_or_else(|| end.send(inner), Ok) {
            Ok(outer) => {
                header.copy_from_slice(&outer.header);
                passed.outward.add(size);
                batch.push(outer.way, HEADER + size);
                known = Some(outer);
            }
            Err(dropped) => {
                counts.add(dropped);
                if let Some(answer) = answer(inner).filter(|_| dropped == Dropped::TooBig) {
                    answers.push(&answer);
                }
            }
        }
    }
    true
}

async fn flush(socket: &Socket, batch: &mut Batch) {
    for (way, datagrams, length) in batch.runs() {
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
    let mut buffers = vec![vec![0; LARGEST]; RECEIVED];
    let mut metas = [RecvMeta::default(); RECEIVED];
    let mut packets = Merged::of(device);
    loop {
        let filled = socket.receive(&mut buffers, &mut metas).await?;
        for (buffer, meta) in buffers.iter().zip(&metas).take(filled) {
            let SocketAddr::V4(from) = meta.addr else { continue };
            take(end, from, buffer[..meta.len].chunks(meta.stride.max(1)), &mut packets);
            hand(device, &mut packets).await?;
        }
    }
}

/// Takes the packets out of datagrams from one end.
fn take<'a, E: End>(
    end: &Shared<E>,
    from: SocketAddrV4,
    datagrams: impl Iterator<Item = &'a [u8]>,
    packets: &mut Merged,
) {
    let Counted { end, passed, dropped: counts } = &mut *end.lock();
    let mut before: Option<&[u8]> = None;
    for datagram in datagrams {
        let known = before.and_then(|before| decided(before, datagram));
        match known.map_or_else(|| end.receive(from, datagram), |packet| Ok(Some(packet))) {
            Ok(Some(packet)) => {
                passed.inward.add(packet.len());
                packets.push(packet);
                before = Some(datagram);
            }
            Ok(None) => {}
            Err(dropped) => counts.add(dropped),
        }
    }
}

/// Returns the packet in a datagram on which an end decides as on the one before, which passed: the tunnel and the flow are the
/// same ones.
fn decided<'a>(before: &[u8], datagram: &'a [u8]) -> Option<&'a [u8]> {
    let ((header, before), (own, inner)) =
        (before.split_first_chunk::<HEADER>()?, datagram.split_first_chunk::<HEADER>()?);
    if own != header {
        return None;
    }
    let (before, read) = (Packet::read(before).ok()?, Packet::read(inner).ok()?);
    (before.flow() == read.flow()).then(|| &inner[..read.length])
}

/// Hands the packets to the device. A packet that the kernel refuses is lost, alone.
async fn hand(device: &AsyncDevice, packets: &mut Merged) -> io::Result<()> {
    for packet in packets.finish() {
        match device.send(packet).await {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
    }
    packets.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::samples::{Sample, TCP_SAMPLE, UDP_SAMPLE};

    #[test]
    fn only_a_packet_of_the_same_tunnel_and_flow_is_decided_as_the_one_before() {
        let of = |header: u8, packet: &[u8]| [&[header; HEADER][..], packet].concat();
        let packet = UDP_SAMPLE.packet();
        let before = of(1, &packet);
        let longer = Sample { length: 100, ..UDP_SAMPLE }.packet();
        assert_eq!(decided(&before, &of(1, &longer)), Some(&longer[..]));
        // What follows the packet is no part of it.
        assert_eq!(decided(&before, &of(1, &[&packet[..], &[0; 9]].concat())), Some(&packet[..]));
        let mut fragment = packet.clone();
        fragment[7] = 1;
        let others = [
            ("another tunnel", of(2, &packet)),
            ("another port", of(1, &Sample { port: 81, ..UDP_SAMPLE }.packet())),
            ("another protocol", of(1, &TCP_SAMPLE.packet())),
            ("a fragment", of(1, &fragment)),
            ("a part of it", of(1, &packet[..packet.len() - 1])),
            ("no packet", of(1, &[])),
            ("no header", vec![1; HEADER - 1]),
        ];
        for (name, other) in others {
            assert_eq!(decided(&before, &other), None, "{name}");
        }
    }
}
