//! The library as its users see it.

mod entering;
mod keys;
mod promises;
mod world;
