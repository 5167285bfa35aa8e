//! Faults planted on purpose, so that a test can show that it would see a real one. Debug builds only: a
//! release has no such code.
//!
//! `PINION_PLANT=allocation` makes every request allocate once.

use std::hint::black_box;
use std::sync::OnceLock;

/// Does what is planted for a request.
pub(crate) fn on_request() {
    static ALLOCATES: OnceLock<bool> = OnceLock::new();
    let planted = || std::env::var_os("PINION_PLANT").is_some_and(|plant| plant == "allocation");
    if *ALLOCATES.get_or_init(planted) {
        // ALLOC: the planted one.
        drop(black_box(Box::new([0_u8; 64])));
    }
}
