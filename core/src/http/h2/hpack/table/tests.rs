//! The dynamic table against a plain list, and its memory.

use super::*;
use crate::rng::Rng;
use std::collections::VecDeque;

fn line(name: usize, value: usize) -> (Line, Vec<u8>) {
    let mut text = vec![b'n'; name];
    text.extend(b": ");
    text.extend(vec![b'v'; value]);
    text.extend(b"\r\n");
    let line =
        Line { name: name as u32, value: value as u32, kind: Kind::Field, known: Known::Other, valid: true };
    (line, text)
}

/// A line's name and value.
fn parts(text: &[u8]) -> (&[u8], &[u8]) {
    let colon = text.iter().position(|&byte| byte == b':').unwrap();
    (&text[..colon], &text[colon + 2..text.len() - 2])
}

#[test]
fn it_is_a_bounded_list() {
    for seed in 0..20 {
        let mut rng = Rng::seeded(seed);
        let limit = 64 + rng.below(8_000) as usize;
        let mut table = Table::new(limit);
        let mut max = limit;
        let mut list: VecDeque<(Line, Vec<u8>)> = VecDeque::new();
        let size = |list: &VecDeque<(Line, Vec<u8>)>| list.iter().map(|(line, _)| line.size()).sum::<usize>();
        for step in 0..2_000 {
            if rng.below(100) == 0 {
                max = rng.below(limit as u64 + 1) as usize;
                table.resize(max);
            } else {
                let wide = if rng.below(20) == 0 { limit as u64 } else { 60 };
                let (line, mut text) = line(1 + rng.below(20) as usize, rng.below(wide) as usize);
                text[0] = b'0' + (step % 10) as u8;
                let number = table.insert(line, [&text]);
                assert_eq!(number.is_some(), line.size() <= max);
                list.push_front((line, text));
            }
            while size(&list) > max {
                list.pop_back();
            }
            assert_eq!((table.count(), table.size()), (list.len(), size(&list)), "seed {seed}, step {step}");
            for (place, (line, text)) in list.iter().enumerate() {
                assert_eq!(table.at(place), Some((*line, text.as_slice())), "seed {seed}, step {step}");
                let number = table.next.wrapping_sub(1 + place as u32);
                let (name, value) = parts(text);
                assert_eq!(table.place_of(number, name, value), Some(place));
                assert_eq!(table.place_of(number, &name[1..], value), None);
            }
            assert_eq!(table.at(list.len()), None);
            assert_eq!(table.place_of(table.next, b"", b""), None);
            assert_eq!(table.place_of(table.next.wrapping_sub(1 + list.len() as u32), b"", b""), None);
            assert!(table.bytes.capacity() <= 2 * limit, "{} of {limit}", table.bytes.capacity());
        }
    }
}

#[test]
fn numbers_and_places_wrap() {
    let mut table = Table::new(200);
    table.next = u32::MAX - 3;
    table.base = u32::MAX - 50;
    for step in 0..20_u32 {
        let (line, mut text) = line(4, 4);
        text[0] = b'0' + (step % 10) as u8;
        let number = table.insert(line, [&text]).unwrap();
        let (name, value) = parts(&text);
        assert_eq!(table.place_of(number, name, value), Some(0));
        assert_eq!(table.at(0), Some((line, text.as_slice())));
    }
    assert_eq!(table.count(), 5);
}

#[test]
fn memory_stays_once_it_has_grown() {
    let mut table = Table::new(4096);
    let mut rng = Rng::seeded(7);
    let mut fill = |table: &mut Table| {
        for _ in 0..5_000 {
            let (line, text) = line(10, rng.below(60) as usize);
            table.insert(line, [&text]);
        }
        table.memory()
    };
    let once = fill(&mut table);
    assert_eq!(fill(&mut table), once);
    assert!(once <= 2 * 4096 + 128 * size_of::<Entry>(), "{once}");
}
