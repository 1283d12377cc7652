//! Generates the client stubs of the Reports service for portreeve-api's messages. No system protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../hub/api/proto");
    let files = protox::compile(["../hub/api/proto/report.proto"], ["../hub/api/proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .emit_rerun_if_changed(false)
        .extern_path(".portreeve.report.v1", "::portreeve_api::report")
        .extern_path(".portreeve.plan.v1", "::portreeve_api::plan")
        .compile_fds(files)?;
    Ok(())
}
