//! The only unsafe code of the data plane: buffers the kernel writes into, the ring that has it do so, the
//! wakers of tasks, the counting allocator, the options and messages of kernel TLS.
//!
//! Invariants: every `unsafe` block states the fact that makes it sound; nothing here decides anything.
//!
//! Not here: system calls with a safe wrapper (those go through `rustix` where they are used).

#![allow(unsafe_code)]

pub(crate) mod alloc;
pub(crate) mod buffer;
pub(crate) mod ktls;
pub(crate) mod ring;
pub(crate) mod task;
