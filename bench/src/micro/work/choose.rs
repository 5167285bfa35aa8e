//! Choosing an endpoint of a cluster.

use std::hint::black_box;

use pinion_core::balance::{Balance, Picker};
use pinion_core::rng::Rng;

use super::{Group, Work};

/// How many endpoints there are.
const ENDPOINTS: &[usize] = &[2, 10, 100, 1_000];

pub(super) const ROUND_ROBIN: Group = Group {
    name: "choose-round-robin",
    what: "choose the next endpoint in turn",
    unit: "endpoints",
    sizes: ENDPOINTS,
    flat: true,
    make: |size| choose(Balance::RoundRobin, size, |_| 1),
};

pub(super) const LEAST_REQUEST: Group = Group {
    name: "choose-least-request",
    what: "choose the less loaded of two endpoints",
    unit: "endpoints",
    sizes: ENDPOINTS,
    flat: true,
    make: |size| choose(Balance::LeastRequest, size, |_| 1),
};

pub(super) const ROUND_ROBIN_WEIGHTED: Group = Group {
    name: "choose-round-robin-weighted",
    what: "choose the next endpoint in turn, by weight",
    unit: "endpoints",
    sizes: ENDPOINTS,
    flat: false,
    make: |size| choose(Balance::RoundRobin, size, uneven),
};

pub(super) const LEAST_REQUEST_WEIGHTED: Group = Group {
    name: "choose-least-request-weighted",
    what: "choose the less loaded of two endpoints drawn by weight",
    unit: "endpoints",
    sizes: ENDPOINTS,
    flat: true,
    make: |size| choose(Balance::LeastRequest, size, uneven),
};

/// Weights from 1 to 7.
fn uneven(place: usize) -> u32 {
    1 + place as u32 % 7
}

fn choose(balance: Balance, size: usize, weight: fn(usize) -> u32) -> Work {
    let weights: Vec<u32> = (0..size).map(weight).collect();
    let mut picker = Picker::new(&weights, balance, 1);
    let mut rng = Rng::seeded(1);
    let mut loads = vec![0_u32; size];
    Box::new(move |operations| {
        for _ in 0..operations {
            let picked = picker.pick(&mut rng, |place| loads[place], |_| true);
            if let Some(load) = picked.and_then(|place| loads.get_mut(place)) {
                // Requests come and go: loads stay small and differ.
                *load = (*load + 1) & 7;
            }
            black_box(picked);
        }
    })
}
