//! The program's allocator: mimalloc, with a count of allocations per thread.
//!
//! The count proves "no allocation in steady state" in the very binary that serves
//! (`pinion_shard_allocations_total`). It costs one thread-local increment per allocation, so nothing where
//! nothing allocates.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use mimalloc::MiMalloc;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations (and growing reallocations) this thread has made since it started.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

unsafe extern "C" {
    // Of mimalloc, which this program is linked with as its allocator.
    safe fn mi_collect(force: bool);
}

/// Returns memory that this thread has freed to the system. mimalloc does so by itself only as a thread goes
/// on allocating, and a shard that has become quiet does not.
pub(crate) fn give_back() {
    mi_collect(true);
}

struct Counting(MiMalloc);

#[global_allocator]
static GLOBAL: Counting = Counting(MiMalloc);

fn count() {
    // `try_with`: allocations also happen while the thread's locals are being destroyed.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on unchanged to mimalloc, which keeps the contract; counting touches only a
// thread-local cell without a destructor and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }
}
