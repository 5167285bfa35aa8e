//! Noise and mutated exchanges: nothing panics, and what is written is always whole frames.

use super::*;
use crate::random::Random;

/// How many inputs each test tries.
const ROUNDS: u64 = 40_000;

/// Changes a few bytes, or cuts, repeats or moves a part.
fn mutated(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.bits() % 3 {
        let at = random.bits() as usize % bytes.len();
        match random.bits() % 5 {
            0 => bytes[at] = random.bits() as u8,
            1 => bytes[at] ^= 1 << (random.bits() % 8),
            2 => bytes.truncate(at.max(1)),
            3 => bytes.extend_from_within(at..),
            _ => {
                let length = (bytes.len() - at).min(1 + random.bits() as usize % 9);
                bytes.drain(at..at + length);
                bytes.push(0);
            }
        }
    }
    bytes
}

fn pieces<'a>(random: &mut Random, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at((1 + random.bits() as usize % 200).min(bytes.len()));
        pieces.push(now);
        bytes = later;
    }
    pieces
}

#[test]
fn a_server_survives_anything() {
    let mut both = Both::new(CLIENT, SERVER);
    both.request(1, &post(), &body(50, 2));
    both.request(2, &get(), &body(0, 0));
    both.client.cancel(1, &mut both.to_server);
    both.settle();
    let record = both.record.0;
    let mut random = Random::seeded(21);
    let mut counts = [0_u64; 3];
    for round in 0..ROUNDS {
        // Half of them keep the preface and the settings.
        let intact = if round % 2 == 0 { 24 + 9 } else { 0 };
        let input = [&record[..intact], &mutated(&mut random, &record[intact..])].concat();
        let (mut server, mut out, mut events) = (Server::new(SERVER), Vec::new(), Vec::new());
        let mut is_ok = true;
        for piece in pieces(&mut random, &input) {
            is_ok = is_ok && server.feed(piece, &mut out, &mut events).is_ok();
            for event in std::mem::take(&mut events) {
                match event {
                    ServerEvent::Head { stream, .. } => {
                        counts[0] += 1;
                        server.answer(stream, 200, &[("a", "b")], false, &mut out);
                        server.data(stream, &[7; 100], true, &mut out);
                    }
                    ServerEvent::Rejected { .. } => counts[1] += 1,
                    _ => {}
                }
            }
        }
        counts[2] += u64::from(!is_ok);
        frames(&out);
    }
    assert!(counts.iter().all(|&count| count > ROUNDS / 100), "{counts:?}");
}

#[test]
fn a_client_survives_anything() {
    let mut both = Both::new(CLIENT, SERVER);
    let ask = |client: &mut Client, out: &mut Vec<u8>| {
        client.begin(out);
        client.request(1, &get(), &body(0, 0), out);
        client.open_stream(2, &post(), out);
        client.send_message(2, &body(700, 0), out);
        client.request(3, &post(), &body(3_000, 3), out);
    };
    both.client = Client::new(CLIENT);
    both.server = Server::new(SERVER);
    both.server.begin(&mut both.to_client);
    ask(&mut both.client, &mut both.to_server);
    both.record = (Vec::new(), Vec::new());
    both.settle();
    both.server.answer(1, 200, &[("a", "b")], false, &mut both.to_client);
    both.server.data(1, &[7; 10], true, &mut both.to_client);
    both.server.answer::<&str, &str>(3, 200, &[], false, &mut both.to_client);
    both.server.data(3, b"\0\0\0\0\x01a", false, &mut both.to_client);
    both.server.trailers(3, &[("grpc-status", "1")], &mut both.to_client);
    both.server.go_away(&mut both.to_client);
    both.settle();
    let record = both.record.1;
    let mut random = Random::seeded(22);
    let mut counts = [0_u64; 3];
    for _ in 0..ROUNDS {
        let (mut client, mut out, mut events) = (Client::new(CLIENT), Vec::new(), Vec::new());
        ask(&mut client, &mut out);
        let input = mutated(&mut random, &record);
        let is_ok = pieces(&mut random, &input)
            .into_iter()
            .all(|piece| client.feed(piece, &mut out, &mut events).is_ok());
        frames(&out[24..]);
        let mut outcomes = [0; 4];
        for event in &events {
            match event {
                ClientEvent::Answered { ticket, .. } => {
                    counts[0] += 1;
                    outcomes[*ticket as usize] += 1;
                }
                ClientEvent::Failed { ticket, .. } => {
                    counts[1] += 1;
                    outcomes[*ticket as usize] += 1;
                }
                ClientEvent::Message { .. } => {}
            }
        }
        assert!(outcomes.iter().all(|&outcome| outcome <= 1), "{events:?}");
        assert_eq!(outcomes.iter().sum::<usize>() + client.in_flight(), 3);
        counts[2] += u64::from(!is_ok);
    }
    assert!(counts.iter().all(|&count| count > ROUNDS / 100), "{counts:?}");
}

#[test]
fn noise_is_no_problem() {
    let mut random = Random::seeded(23);
    for _ in 0..ROUNDS {
        // Plausible headers, random payloads.
        let mut noise = raw(4, 0, 0, b"");
        for _ in 0..random.bits() % 6 {
            let length = random.bits() as usize % 40;
            let payload: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            let (kind, flags) = ((random.bits() % 11) as u8, random.bits() as u8 & random.bits() as u8);
            noise.extend(raw(kind, flags, (random.bits() % 6) as u32, &payload));
        }
        let (mut out, mut events) = (Vec::new(), Vec::new());
        let mut client = Client::new(CLIENT);
        client.request(1, &get(), &body(0, 0), &mut out);
        client.open_stream(2, &get(), &mut out);
        let client = client.feed(&noise, &mut out, &mut events);
        let (mut answers, mut events) = (Vec::new(), Vec::new());
        let hello = [&frame::PREFACE[..], &noise].concat();
        let server = Server::new(SERVER).feed(&hello, &mut answers, &mut events);
        for (lost, written) in [(client.is_err(), &out), (server.is_err(), &answers)] {
            let said = frames(written).iter().any(|frame| frame.0 == 7);
            assert_eq!(lost, said, "GOAWAY exactly where the connection is lost");
        }
    }
}
