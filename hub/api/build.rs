//! Compiles the protobufs without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let config = || {
        let mut config = prost_build::Config::new();
        config.btree_map(["."]).bytes(["."]);
        config
    };
    config().compile_fds(protox::compile(["proto/plan.proto"], ["proto"])?)?;
    // Generates messages only: crates that serve or call the service generate their own stubs for these messages.
    config()
        .extern_path(".portreeve.plan.v1", "crate::plan")
        .compile_fds(protox::compile(["proto/report.proto"], ["proto"])?)?;
    Ok(())
}
