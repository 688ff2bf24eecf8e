//! The golden scripts alone. `make mutants` asks them first: they notice most mutants, and cost no oracle to compile.
#![allow(dead_code, reason = "walks and the museum use the rest")]

mod outside;
mod scripts;
#[path = "../world/mod.rs"]
mod world;
