//! The operations: what each does once, on how much, and whether that may make it dearer.
//!
//! A maker prepares everything and gives a function that does the operation so many times, on inputs that
//! vary where real ones do. Everything is seeded: two runs do exactly the same.

mod choose;
mod http2;
mod ledger;
mod message;
pub(super) mod route;
mod stream;

/// An operation ready to be done so many times.
pub(super) type Work = Box<dyn FnMut(u64)>;

/// An operation at several sizes.
#[derive(Debug)]
pub(super) struct Group {
    /// On the command line.
    pub(super) name: &'static str,
    /// What is done once.
    pub(super) what: &'static str,
    /// What a size counts.
    pub(super) unit: &'static str,
    /// From small to large.
    pub(super) sizes: &'static [usize],
    /// The cost may not grow with the size.
    pub(super) flat: bool,
    /// Prepares it at one size.
    pub(super) make: fn(usize) -> Work,
}

/// All operations, in the order in which a request meets them.
pub(super) static GROUPS: [Group; 24] = [
    message::PARSE_REQUEST,
    message::PATH_USUAL,
    message::PATH_UNUSUAL,
    message::HOST,
    route::HOSTS,
    route::WILDCARDS,
    route::EXACT_PATHS,
    route::PREFIXES,
    choose::ROUND_ROBIN,
    choose::ROUND_ROBIN_WEIGHTED,
    choose::LEAST_REQUEST,
    choose::LEAST_REQUEST_WEIGHTED,
    ledger::POOL,
    message::WRITE_REQUEST,
    message::PARSE_RESPONSE,
    http2::READ_REQUEST,
    http2::READ_REQUEST_NEW,
    http2::WRITE_REQUEST,
    http2::READ_RESPONSE,
    http2::WRITE_RESPONSE,
    ledger::PHASES,
    ledger::HISTOGRAM,
    stream::OURS,
    stream::CRATE,
];

/// Does `operation` on one of `inputs` after the other, `operations` times.
fn in_turn<T: 'static>(inputs: Vec<T>, mut operation: impl FnMut(&T) + 'static) -> Work {
    let mut next = 0;
    Box::new(move |operations| {
        for _ in 0..operations {
            operation(std::hint::black_box(&inputs[next]));
            next += 1;
            if next == inputs.len() {
                next = 0;
            }
        }
    })
}
