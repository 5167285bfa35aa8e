//! Names for things that tables and totals share: given out once, never reused while a snapshot lives.
//!
//! An *index* is a place in one snapshot's list; an *id* outlives snapshots.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// As a place in a slice.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )* };
}

ids! {
    /// A listener for as long as its name and address stay.
    ListenerId;
    /// A route for as long as its name (or position key) stays.
    RouteId;
    /// A cluster for as long as its name stays.
    ClusterId;
    /// An endpoint for as long as its cluster and address stay.
    EndpointId;
    /// A place in `Snapshot::listeners`.
    ListenerIndex;
    /// A place in `Snapshot::routes`.
    RouteIndex;
    /// A place in `Snapshot::clusters`.
    ClusterIndex;
}
