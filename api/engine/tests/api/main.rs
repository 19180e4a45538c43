//! The API as a client sees it: a real server on a socket, over a real supervisor in an empty directory. No microVM is started.

#![recursion_limit = "512"]

mod connections;
mod containers;
mod harness;
mod hull;
mod images;
mod networks;
mod routing;
mod snapshots;
mod spec;
mod system;
mod volumes;
