//! Tables and properties of the queue.
