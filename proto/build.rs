//! Compiles `proto/skynet/v1/*.proto` without protoc.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/skynet/v1/relay.proto", "proto/skynet/v1/admin.proto"];
    // tonic's build step does not print these lines; without them every build recompiles all users of this crate.
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("skynet.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .bytes(".skynet.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
