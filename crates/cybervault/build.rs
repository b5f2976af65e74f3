//! Builds the binary again when a file comes to content/, which the embedding alone does not notice.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=../../content");
}
