//! What a running program has used: CPU time, memory, system calls.

pub(super) mod calls;
pub(super) mod cpu;
pub(super) mod memory;
