//! The whole way there and back: a cluster, its snapshot, and another cluster made from that.
