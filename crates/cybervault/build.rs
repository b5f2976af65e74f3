//! Builds the binary again when a file comes to content/, which the embedding alone does not notice. Has the Kafka client bound what
//! it decompresses.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=../../content");
    // The client's calls of these go to crates/stream/src/inflate.rs.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        for function in ["rd_gz_decompress", "rd_kafka_lz4_decompress", "rd_kafka_zstd_decompress"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--wrap={function}");
        }
    }
}
