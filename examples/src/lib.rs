//! How programs embed reverser. Each module is a whole program in small; `src/bin` only starts them.

pub mod embed;
pub mod pipe;
