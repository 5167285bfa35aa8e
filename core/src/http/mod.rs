//! HTTP messages as data.

pub use edits::HeaderEdits;
pub use view::RequestView;

pub mod edits;
pub mod view;
